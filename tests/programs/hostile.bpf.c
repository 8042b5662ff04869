// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs of a tenant, each of which uses another way to send packets past the programs after it.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 target = 0;

static __always_inline int is_judged(void *data, void *end)
{
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct udphdr *udp = (void *)(ip + 1);

    if ((void *)(udp + 1) > end)
        return 0;
    return eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_UDP && ip->ihl == 5 &&
           udp->dest == bpf_htons(4242);
}

// Target of the tail call: accepts.
SEC("tc")
int tc_lands(struct __sk_buff *skb)
{
    return TC_ACT_OK;
}

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __array(values, int(void *));
} goes_on SEC(".maps") = {.values = {[0] = (void *)&tc_lands}};

// Accepts by a tail call, and drops if the call has no target.
SEC("tc")
int tc_jumps(struct __sk_buff *skb)
{
    bpf_tail_call(skb, &goes_on, 0);
    return TC_ACT_SHOT;
}

SEC("tcx/egress")
int tcx_lands(struct __sk_buff *skb)
{
    return TC_ACT_OK;
}

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __array(values, int(void *));
} goes_on_by_tcx SEC(".maps") = {.values = {[0] = (void *)&tcx_lands}};

SEC("tcx/egress")
int tcx_jumps(struct __sk_buff *skb)
{
    bpf_tail_call(skb, &goes_on_by_tcx, 0);
    return TC_ACT_SHOT;
}

// The call is in a function of its own, not in the program.
static __attribute__((noinline)) int copy_away(struct __sk_buff *skb)
{
    return bpf_clone_redirect(skb, target, 0);
}

SEC("tc")
int tc_clone_in_a_function(struct __sk_buff *skb)
{
    if (!is_judged((void *)(long)skb->data, (void *)(long)skb->data_end))
        return TC_ACT_OK;
    copy_away(skb);
    return TC_ACT_SHOT;
}

// The verifier needs a long time for this program.
SEC("xdp")
int xdp_long(struct xdp_md *ctx)
{
    __u32 sum = 0, turn;

    for (turn = 0; turn < 60000; turn++)
        sum += bpf_get_prandom_u32();
    return sum & 1 ? XDP_PASS : XDP_DROP;
}

struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} nowhere SEC(".maps");

// The map is empty, so that the flags are the verdict.
SEC("xdp")
int xdp_sends_by_an_empty_map(struct xdp_md *ctx)
{
    if (!is_judged((void *)(long)ctx->data, (void *)(long)ctx->data_end))
        return XDP_PASS;
    return bpf_redirect_map(&nowhere, 0, XDP_TX);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
