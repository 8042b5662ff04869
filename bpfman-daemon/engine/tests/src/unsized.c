// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A map whose size is left to the object's own loader.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
} per_interface SEC(".maps");

SEC("xdp")
int counts(struct xdp_md *ctx)
{
	__u32 key = ctx->ingress_ifindex;

	return bpf_map_lookup_elem(&per_interface, &key) ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
