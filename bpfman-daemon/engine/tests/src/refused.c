// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that every verifier refuses, and one that every verifier accepts.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int wild(struct xdp_md *ctx)
{
	return *(volatile int *)0;
}

SEC("xdp")
int tame(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
