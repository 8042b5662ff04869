// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Two programs with a map that objects share by its name, and one of their own.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} everyone SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} own SEC(".maps");

static __always_inline int look(__u32 key)
{
	return bpf_map_lookup_elem(&everyone, &key) || bpf_map_lookup_elem(&own, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int guest(struct xdp_md *ctx)
{
	return look(0);
}

SEC("xdp")
int host(struct xdp_md *ctx)
{
	return look(1);
}

char _license[] SEC("license") = "GPL";
