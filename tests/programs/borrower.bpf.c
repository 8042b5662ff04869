// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A third-party program that uses an inner map of a map of maps of typed_maps.bpf.c.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 12);
} lent SEC(".maps");

SEC("xdp")
int borrow(struct xdp_md *ctx)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&lent, &zero) ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
