// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A member that counts datagrams to port 4242, and sends a copy of each back to the interface of its arrival.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} learned SEC(".maps");

SEC("tc")
int tc_clones(struct __sk_buff *skb)
{
    __u32 zero = 0;
    __u16 port = 0;
    __u64 *count;

    if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, 36, &port, sizeof port) ||
        port != bpf_htons(4242))
        return TC_ACT_OK;
    count = bpf_map_lookup_elem(&learned, &zero);
    if (count)
        __sync_fetch_and_add(count, 1);
    bpf_clone_redirect(skb, skb->ifindex, 0);
    return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
