// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that tail-calls another, which sends a copy of the packet and drops it.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

int tc_copies(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} next SEC(".maps") = {
	.values = { [0] = (void *)&tc_copies },
};

SEC("tc")
int tc_jumps(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &next, 0);
	return 0;
}

SEC("tc")
int tc_copies(struct __sk_buff *skb)
{
	bpf_clone_redirect(skb, 1, 0);
	return 2;
}

char LICENSE[] SEC("license") = "GPL";
