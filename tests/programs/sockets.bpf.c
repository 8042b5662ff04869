// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs of a sockmap, in one object like a user's.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} connections SEC(".maps");

SEC("sk_skb/stream_verdict")
int stream(struct __sk_buff *skb)
{
	return SK_PASS;
}

SEC("sk_msg")
int message(struct sk_msg_md *message)
{
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
