// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that sends a copy of the packet and drops it.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("tc")
int tc_copies(struct __sk_buff *skb)
{
	bpf_clone_redirect(skb, 1, 0);
	return 2;
}

char LICENSE[] SEC("license") = "GPL";
