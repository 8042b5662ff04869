// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A map with its memory on one node of the machine.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_NUMA_NODE);
	__uint(numa_node, 1);
	__type(key, __u32);
	__type(value, __u64);
} near SEC(".maps");

char _license[] SEC("license") = "GPL";
