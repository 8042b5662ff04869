// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// One 64-bit load of a number.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int number(struct xdp_md *ctx)
{
	__u64 value;

	asm volatile("r1 = 0x1122334411223344 ll\n%0 = r1" : "=r"(value) : : "r1");
	return value > 3 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
