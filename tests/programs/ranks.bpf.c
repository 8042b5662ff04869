// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that changes datagrams to port 4242, and a wall that drops changed ones. Both accept everything else.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CHANGED 0x5a

const volatile __u32 target = 0;

// Returns the first payload byte of a datagram to port 4242, or 0 for other packets.
static __always_inline __u8 *payload(void *data, void *end)
{
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct udphdr *udp = (void *)(ip + 1);
    __u8 *first = (void *)(udp + 1);

    if ((void *)(first + 1) > end)
        return 0;
    if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP || ip->ihl != 5 ||
        udp->dest != bpf_htons(4242))
        return 0;
    return first;
}

static __always_inline int change(struct __sk_buff *skb)
{
    __u8 *first = payload((void *)(long)skb->data, (void *)(long)skb->data_end);

    if (first)
        *first = CHANGED;
    return TC_ACT_OK;
}

static __always_inline int wall(struct __sk_buff *skb, int otherwise)
{
    __u8 *first = payload((void *)(long)skb->data, (void *)(long)skb->data_end);

    return first && *first == CHANGED ? TC_ACT_SHOT : otherwise;
}

SEC("tc")
int tc_change(struct __sk_buff *skb)
{
    return change(skb);
}

SEC("tcx/egress")
int tcx_change(struct __sk_buff *skb)
{
    return change(skb);
}

SEC("tc")
int tc_wall(struct __sk_buff *skb)
{
    return wall(skb, TC_ACT_OK);
}

SEC("tcx/egress")
int tcx_wall(struct __sk_buff *skb)
{
    return wall(skb, TC_ACT_UNSPEC);
}

// Redirects datagrams to port 4242 to another interface, past the programs of this one.
SEC("tc")
int tc_redirect(struct __sk_buff *skb)
{
    if (!payload((void *)(long)skb->data, (void *)(long)skb->data_end))
        return TC_ACT_OK;
    return bpf_redirect(target ? target : skb->ifindex, 0);
}

SEC("tcx/egress")
int tcx_redirect(struct __sk_buff *skb)
{
    if (!payload((void *)(long)skb->data, (void *)(long)skb->data_end))
        return TC_ACT_OK;
    return bpf_redirect(target ? target : skb->ifindex, 0);
}

// Redirects datagrams to port 4242 back to the interface where they arrived.
SEC("xdp")
int xdp_redirect(struct xdp_md *ctx)
{
    if (!payload((void *)(long)ctx->data, (void *)(long)ctx->data_end))
        return XDP_PASS;
    return bpf_redirect(ctx->ingress_ifindex, 0);
}

// The compiler must keep the call, although the result is constant.
__attribute__((noinline)) int answer(struct xdp_md *ctx, int queue)
{
    int verdict = XDP_TX;

    asm volatile("%0 += 0" : "+r"(verdict) : "r"(queue), "r"(ctx));
    return verdict;
}

// Returns the verdict of a function for datagrams to port 4242: another program can replace it, and send them back.
SEC("xdp")
int xdp_answer(struct xdp_md *ctx)
{
    if (!payload((void *)(long)ctx->data, (void *)(long)ctx->data_end))
        return XDP_PASS;
    return answer(ctx, ctx->rx_queue_index);
}

SEC("freplace/answer")
int same_answer(struct xdp_md *ctx, int queue)
{
    return XDP_TX;
}

static __always_inline int clone_away(struct __sk_buff *skb)
{
    if (!payload((void *)(long)skb->data, (void *)(long)skb->data_end))
        return TC_ACT_OK;
    bpf_clone_redirect(skb, target, 0);
    return TC_ACT_SHOT;
}

// Sends a copy of datagrams to port 4242 out of another interface, and drops them here.
SEC("tc")
int tc_clone_away(struct __sk_buff *skb)
{
    return clone_away(skb);
}

SEC("tcx/egress")
int tcx_clone_away(struct __sk_buff *skb)
{
    return clone_away(skb);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
