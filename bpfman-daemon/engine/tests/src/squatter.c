// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program whose map has the shared name of another object's map, but another shape.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} everyone SEC(".maps");

SEC("xdp")
int squatter(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&everyone, &key) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
