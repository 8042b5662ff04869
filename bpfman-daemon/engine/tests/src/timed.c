// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Members whose time differs: the trivial one has two instructions, the brief one calls the kernel 10 times, the slow one
// 2,000 times.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 sum;

SEC("xdp")
int trivial(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int brief(struct xdp_md *ctx)
{
	__u64 drawn = 0;
	int turn;

	for (turn = 0; turn < 10; turn++)
		drawn += bpf_get_prandom_u32();
	sum = drawn;
	return XDP_PASS;
}

SEC("xdp")
int slow(struct xdp_md *ctx)
{
	__u64 drawn = 0;
	int turn;

	for (turn = 0; turn < 2000; turn++)
		drawn += bpf_get_prandom_u32();
	sum = drawn;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
