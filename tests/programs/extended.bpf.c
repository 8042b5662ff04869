// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A filter that calls a function, and a program that replaces the function. Without the replacement all packets pass;
// with it, datagrams to port 4242 are dropped.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// The compiler must keep the call, although the result is constant.
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
