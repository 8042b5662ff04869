// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program with a tail call in a subprogram, which tenants were once allowed to make.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} others SEC(".maps");

static __attribute__((noinline)) int hop(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &others, 0);
	return XDP_PASS;
}

SEC("xdp")
int hops(struct xdp_md *ctx)
{
	return hop(ctx);
}

char LICENSE[] SEC("license") = "GPL";
