// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Leaves every packet to the next program: the lowest cost that a TC program can have.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int next(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
