// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Functions at the same offset of two sections: a linker that compares only offsets calls the wrong one.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__attribute__((noinline, section(".text.first"))) int first(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data > 10 ? XDP_PASS : XDP_ABORTED;
}

__attribute__((noinline, section(".text.second"))) int second(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data > 20 ? XDP_DROP : XDP_TX;
}

__attribute__((noinline)) int third(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data > 30 ? XDP_REDIRECT : XDP_TX;
}

SEC("xdp")
int both(struct xdp_md *ctx)
{
	return first(ctx) + second(ctx) + third(ctx);
}

char _license[] SEC("license") = "GPL";
