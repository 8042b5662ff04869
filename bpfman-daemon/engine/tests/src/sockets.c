// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs of a sockmap. They drop all data, so that the sender or receiver notices.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "runs.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} connections SEC(".maps");

SEC("sk_msg")
int nothing_sent(struct sk_msg_md *message)
{
	count(0);
	return SK_DROP;
}

SEC("sk_skb/stream_parser")
int whole_stream(struct __sk_buff *skb)
{
	count(1);
	return skb->len;
}

SEC("sk_skb/stream_verdict")
int no_stream(struct __sk_buff *skb)
{
	count(2);
	return SK_DROP;
}

SEC("sk_skb/verdict")
int no_data(struct __sk_buff *skb)
{
	count(3);
	return SK_DROP;
}

/* Cuts each packet to nothing. */
SEC("socket")
int no_packets(struct __sk_buff *skb)
{
	count(4);
	return 0;
}

/* No socket takes a packet. */
SEC("sk_reuseport")
int no_socket_chosen(struct sk_reuseport_md *packet)
{
	count(5);
	return SK_DROP;
}

char _license[] SEC("license") = "GPL";
