// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// An extension for a function of `extended.c` that tail-calls another program.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} others SEC(".maps");

SEC("freplace/limit")
int goes_on(struct xdp_md *ctx, int number)
{
	bpf_tail_call(ctx, &others, number);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
