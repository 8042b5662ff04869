// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that every verifier rejects after a long analysis, and one that every kernel accepts.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} values SEC(".maps");

SEC("xdp")
int sound(struct xdp_md *ctx)
{
    return XDP_PASS;
}

SEC("xdp")
int broken(struct xdp_md *ctx)
{
    __u32 zero = 0, sum = 0;
    __u64 *value;

#pragma unroll
    for (int i = 0; i < 256; i++)
        sum += bpf_get_prandom_u32() & 0xf;
    value = bpf_map_lookup_elem(&values, &zero);
    // The pointer is not checked for NULL, and the index is beyond the value.
    value[sum] = 1;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
