// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Lets everything pass: what another XDP program sends out of a veth (XDP_TX) is received only where there is one too.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
