// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A member that writes 666 into the first entry of the map in its map of maps.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} own SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 1);
    __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps") = {.values = {[0] = &own}};

SEC("xdp")
int xdp_reach(struct xdp_md *ctx)
{
    __u32 zero = 0;
    void *inner = bpf_map_lookup_elem(&outer, &zero);
    __u64 *value = inner ? bpf_map_lookup_elem(inner, &zero) : 0;

    if (value)
        *value = 666;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
