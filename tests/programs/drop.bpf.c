// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Drops every packet: the lowest cost that an XDP program can have.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
