// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Kernel functions in XDP: dynptrs over packets, Linux 6.4 and later.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

extern int bpf_dynptr_from_xdp(struct xdp_md *ctx, __u64 flags, struct bpf_dynptr *dynptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *dynptr, __u32 offset, void *buffer, __u32 size) __ksym;

SEC("xdp") int by_dynptr(struct xdp_md *ctx)
{
	struct bpf_dynptr packet;
	struct ethhdr buffer, *eth;
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&seen, &zero);

	if (bpf_dynptr_from_xdp(ctx, 0, &packet))
		return XDP_PASS;
	eth = bpf_dynptr_slice(&packet, 0, &buffer, sizeof(buffer));
	if (eth && eth->h_proto == bpf_htons(0x88b5) && count)
		__sync_fetch_and_add(count, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
