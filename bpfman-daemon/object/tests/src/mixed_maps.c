// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A map with type information beside one without, as generators of objects make them.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct map_def {
	unsigned int type, key_size, value_size, max_entries, map_flags;
};

struct map_def old SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 3,
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 9);
	__type(key, __u32);
	__type(value, __u64);
} typed SEC(".maps");

SEC("xdp")
int use(struct xdp_md *ctx)
{
	__u32 key = 1;

	return bpf_map_lookup_elem(&old, &key) && bpf_map_lookup_elem(&typed, &key) ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
