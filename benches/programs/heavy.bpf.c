// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that the verifier takes long for: it follows each iteration of the loop, some 200,000 instructions.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 sum;

SEC("xdp")
int heavy(struct xdp_md *ctx)
{
	__u64 drawn = 0;
	int turn;

	for (turn = 0; turn < 20000; turn++)
		drawn += bpf_get_prandom_u32() ^ turn;
	sum = drawn;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
