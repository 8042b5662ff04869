// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// An object of a few kilobytes whose map needs 3 GiB.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 786432);
	__type(key, __u32);
	__uint(value_size, 4096);
} everything SEC(".maps");

SEC("xdp")
int hoards(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&everything, &key) ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
