// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Members of chains under a flood. Each writes its number into the datagram behind those of the members before it, so
// that the datagram shows the chain that it passed.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define STAMPS 32

// tests/src/flood.rs builds and reads it.
struct stamped {
    __u64 number;
    __u64 stamps;
    __u8 who[STAMPS];
};

const volatile __u32 who = 0;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} hits SEC(".maps");

static __always_inline void stamp_as(void *data, void *end, __u8 number)
{
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct udphdr *udp = (void *)(ip + 1);
    struct stamped *stamped = (void *)(udp + 1);
    __u32 zero = 0;
    __u64 *count, place;
    __u8 *stamp_at;

    if ((void *)(stamped + 1) > end)
        return;
    if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP || ip->ihl != 5 ||
        udp->dest != bpf_htons(4242))
        return;
    count = bpf_map_lookup_elem(&hits, &zero);
    if (count)
        __sync_fetch_and_add(count, 1);
    place = stamped->stamps & (STAMPS - 1);
    stamp_at = stamped->who + place;
    if ((void *)(stamp_at + 1) > end)
        return;
    *stamp_at = number;
    stamped->stamps = place + 1;
    // The checksum is no longer right; without one the receiver accepts the bytes.
    udp->check = 0;
}

static __always_inline void stamp(void *data, void *end)
{
    stamp_as(data, end, who);
}

SEC("xdp")
int xdp_stamp(struct xdp_md *ctx)
{
    stamp((void *)(long)ctx->data, (void *)(long)ctx->data_end);
    return XDP_PASS;
}

SEC("tc")
int tc_stamp(struct __sk_buff *skb)
{
    stamp((void *)(long)skb->data, (void *)(long)skb->data_end);
    return TC_ACT_PIPE;
}

SEC("tcx/ingress")
int tcx_stamp(struct __sk_buff *skb)
{
    stamp((void *)(long)skb->data, (void *)(long)skb->data_end);
    return TC_ACT_UNSPEC;
}

// Another member of the same load, with the next number.
SEC("xdp")
int xdp_next(struct xdp_md *ctx)
{
    stamp_as((void *)(long)ctx->data, (void *)(long)ctx->data_end, who + 1);
    return XDP_PASS;
}

SEC("tc")
int tc_next(struct __sk_buff *skb)
{
    stamp_as((void *)(long)skb->data, (void *)(long)skb->data_end, who + 1);
    return TC_ACT_PIPE;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
