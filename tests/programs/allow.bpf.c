// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Lets a cgroup's packets pass, and counts them.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 seen;

SEC("cgroup_skb/egress")
int allow(struct __sk_buff *packet)
{
	__sync_fetch_and_add(&seen, 1);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
