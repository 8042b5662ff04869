// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs that use the map of `sharing.c` by its name, without declaring a size.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} everyone SEC(".maps");

SEC("xdp")
int visits(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&everyone, &key) ? XDP_DROP : XDP_PASS;
}

static long each(void *map, __u32 *key, __u64 *value, void *ctx)
{
	return *value > 1000;
}

SEC("xdp")
int walks(struct xdp_md *ctx)
{
	bpf_for_each_map_elem(&everyone, each, 0, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
