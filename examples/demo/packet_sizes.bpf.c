// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// The demo's third program: counts packets by length, and passes every packet on: XDP_PASS.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// Slot n counts packets of 2^n to 2^(n+1) - 1 bytes; the last slot counts all longer ones.
#define SLOTS 12

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} sizes SEC(".maps");

SEC("xdp")
int packet_sizes(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data, slot = 0;
	__u64 *count;

#pragma unroll
	for (int i = 1; i < SLOTS; i++)
		slot += (length >> i) != 0;
	count = bpf_map_lookup_elem(&sizes, &slot);
	if (count)
		__sync_fetch_and_add(count, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
