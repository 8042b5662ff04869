// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// An XDP member that is bound to its device (Linux 6.3 and later): it reads the card's metadata from the driver.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash, int *kind) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} hashed SEC(".maps");

SEC("xdp")
int receive_hash(struct xdp_md *ctx)
{
	__u32 key = 0, hash = 0;
	__u64 *count;
	int kind = 0;

	count = bpf_map_lookup_elem(&hashed, &key);
	if (count && !bpf_xdp_metadata_rx_hash(ctx, &hash, &kind))
		__sync_fetch_and_add(count, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
