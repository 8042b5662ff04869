// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Functions whose names get dots, and whose parameters lose their names, as in objects that Zig makes.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__attribute__((noinline)) static int module_helper(struct xdp_md *ctx, int by)
{
	return ctx->data_end - ctx->data + by;
}

__attribute__((used)) SEC("xdp") static int module_main(struct xdp_md *ctx)
{
	return module_helper(ctx, 60) > 100 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
