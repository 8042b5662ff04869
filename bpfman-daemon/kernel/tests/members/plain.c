// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members with functions, compiled without type information.
#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))

static __attribute__((noinline)) int third(struct xdp_md *ctx, int of)
{
	__u8 *packet = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (packet + 4 > end)
		return XDP_ABORTED;
	packet[3] ^= of;
	return packet[of & 3] & 3;
}

static __attribute__((noinline)) int twice(struct xdp_md *ctx)
{
	return third(ctx, 1) + third(ctx, 2);
}

SEC("xdp")
int untyped_functions(struct xdp_md *ctx)
{
	return twice(ctx) & 3;
}

SEC("xdp")
int untyped_alone(struct xdp_md *ctx)
{
	return (ctx->data_end - ctx->data) & 4 ? XDP_PASS : XDP_TX;
}

char _license[] SEC("license") = "GPL";
