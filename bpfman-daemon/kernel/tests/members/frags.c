// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members that take packets in several buffers.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 bytes, tails;

SEC("xdp.frags")
int whole_length(struct xdp_md *ctx)
{
	bytes += bpf_xdp_get_buff_len(ctx);
	return XDP_PASS;
}

// Reads and writes behind the first buffer.
SEC("xdp.frags")
int last_bytes(struct xdp_md *ctx)
{
	__u32 length = bpf_xdp_get_buff_len(ctx);
	__u8 last[4];

	if (length < 64 || bpf_xdp_load_bytes(ctx, length - 4, last, sizeof(last)))
		return XDP_DROP;
	last[0] ^= last[3];
	tails += last[0];
	if (bpf_xdp_store_bytes(ctx, length - 4, last, sizeof(last)))
		return XDP_ABORTED;
	return last[0] & 1 ? XDP_PASS : XDP_TX;
}

SEC("xdp.frags")
int shorter(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_tail(ctx, -300) ? XDP_PASS : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
