// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A variable without an initial value, which `-fcommon` puts into no section.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int seen;

SEC("xdp")
int filter(struct xdp_md *ctx)
{
	seen += 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
