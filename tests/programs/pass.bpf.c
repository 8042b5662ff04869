// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Lets everything pass: a veth receives packets that its peer sends by XDP_TX only if it has an XDP program, too.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
