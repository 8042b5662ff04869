// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Maps declared without type information, short and long form.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct long_map_def {
	unsigned int type, key_size, value_size, max_entries, map_flags, id, pinning;
};

struct long_map_def second SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH, .key_size = 8, .value_size = 16, .max_entries = 9, .map_flags = 1, .pinning = 1,
};

struct long_map_def first SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 3,
};

struct iproute2_map {
	unsigned int type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

struct iproute2_map everywhere SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY, .size_key = 4, .size_value = 8, .max_elem = 1, .pinning = 2,
};

struct long_map_def everywhere_short SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1, .pinning = 2,
};

SEC("xdp")
int use(struct xdp_md *ctx)
{
	__u64 key = 1;

	if (bpf_map_lookup_elem(&first, &key))
		return XDP_PASS;
	return bpf_map_lookup_elem(&second, &key) ? XDP_TX : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
