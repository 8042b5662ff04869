// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs that put addresses of the kernel into a map, and one that calculates with addresses.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} kept SEC(".maps");

static __always_inline void keep(__u64 value)
{
    __u32 zero = 0;
    __u64 *slot = bpf_map_lookup_elem(&kept, &zero);

    if (slot)
        *slot = value;
}

SEC("xdp")
int xdp_context(struct xdp_md *ctx)
{
    keep((__u64)ctx);
    return XDP_PASS;
}

SEC("tc")
int tc_context(struct __sk_buff *skb)
{
    keep((__u64)skb);
    return TC_ACT_OK;
}

SEC("tcx/ingress")
int tcx_context(struct __sk_buff *skb)
{
    keep((__u64)skb);
    return TC_ACT_OK;
}

SEC("xdp")
int xdp_value(struct xdp_md *ctx)
{
    __u32 zero = 0;
    __u64 *slot = bpf_map_lookup_elem(&kept, &zero);

    if (slot)
        *slot = (__u64)slot;
    return XDP_PASS;
}

// Copies the address to the stack, and the stack to the map.
SEC("xdp")
int xdp_by_helper(struct xdp_md *ctx)
{
    __u32 zero = 0;
    __u64 address = (__u64)ctx;

    bpf_map_update_elem(&kept, &zero, &address, BPF_ANY);
    return XDP_PASS;
}

// The difference of two addresses, for which the verifier needs CAP_PERFMON too.
SEC("xdp")
int xdp_length(struct xdp_md *ctx)
{
    __u64 length = (__u64)ctx->data_end;

    length -= (__u64)ctx->data;
    keep(length);
    return XDP_PASS;
}

// Reads a structure of the kernel.
SEC("tc")
int tc_tcp_socket(struct __sk_buff *skb)
{
    struct bpf_sock *sk = skb->sk;

    if (!sk)
        return TC_ACT_OK;
    sk = bpf_sk_fullsock(sk);
    keep(sk && bpf_skc_to_tcp_sock(sk) ? 1 : 2);
    return TC_ACT_OK;
}
