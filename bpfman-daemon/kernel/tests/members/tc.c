// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// TC members for the oracle.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

__u32 marked[4];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, __u32);
	__type(value, __u32);
} by_mark SEC(".maps");

SEC("tc")
int hand_over(struct __sk_buff *skb)
{
	skb->cb[0] = skb->len;
	skb->mark += 3;
	marked[skb->mark & 3]++;
	return TC_ACT_PIPE;
}

SEC("tc")
int take_over(struct __sk_buff *skb)
{
	__u32 key = skb->mark & 0xff, one = 1, *value;

	value = bpf_map_lookup_elem(&by_mark, &key);
	if (value)
		__sync_fetch_and_add(value, skb->cb[0]);
	else
		bpf_map_update_elem(&by_mark, &key, &one, BPF_ANY);
	return skb->cb[0] & 1 ? TC_ACT_UNSPEC : TC_ACT_PIPE;
}

SEC("tc")
int store_bytes(struct __sk_buff *skb)
{
	__u16 value = skb->mark;

	if (bpf_skb_store_bytes(skb, 20, &value, sizeof(value), 0))
		return TC_ACT_SHOT;
	return value & 1 ? TC_ACT_PIPE : TC_ACT_STOLEN;
}

static __attribute__((noinline)) int classify(struct __sk_buff *skb)
{
	__u8 byte;

	if (bpf_skb_load_bytes(skb, 22, &byte, 1))
		return TC_ACT_OK;
	return (int)(byte & 15) - 2;
}

SEC("tc")
int any_verdict(struct __sk_buff *skb)
{
	return classify(skb);
}

SEC("tc")
int longer(struct __sk_buff *skb)
{
	return bpf_skb_change_tail(skb, skb->len + 5, 0) ? TC_ACT_SHOT : TC_ACT_PIPE;
}

char _license[] SEC("license") = "GPL";
