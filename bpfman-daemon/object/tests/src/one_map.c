// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A map that is weak or strong, to be linked with another one of the same name.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps") STRENGTH;

SEC("socket")
int NAME(struct __sk_buff *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&hits, &key) != 0;
}

#ifdef LICENSE
char _license[] SEC("license") = "GPL";
#endif
