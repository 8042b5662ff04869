// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A filter that asks a function, and a program in that function's place: without it all pass, with it no datagram to port
// 4242 does.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// The compiler is to call it, whatever it answers.
__attribute__((noinline)) int limit(struct xdp_md *ctx, int queue)
{
    int answer = XDP_PASS;

    asm volatile("%0 += 0" : "+r"(answer) : "r"(queue), "r"(ctx));
    return answer;
}

SEC("xdp")
int filter(struct xdp_md *ctx)
{
    return limit(ctx, ctx->rx_queue_index);
}

SEC("freplace/limit")
int drops(struct xdp_md *ctx, int queue)
{
    struct ethhdr *eth = (void *)(long)ctx->data;
    struct iphdr *ip = (void *)(eth + 1);
    struct udphdr *udp = (void *)(ip + 1);

    if ((void *)(udp + 1) > (void *)(long)ctx->data_end)
        return XDP_PASS;
    if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP || ip->ihl != 5)
        return XDP_PASS;
    return udp->dest == bpf_htons(4242) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
