// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs before and behind chains in tests with real packets. They are not members.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// A frame of this type shows that all frames before it have arrived.
#define MARKER 0x88b6
#define BYTES 64
#define STAMPS 4
#define FIRST_STAMP 20

struct seen {
	__u64 count;
	__u32 length;
	__u32 mark;
	__u32 priority;
	__u32 cb[5];
	__u32 tag_present;
	__u32 tag;
	__u8 bytes[BYTES];
};

#define ONE(name, value_type)                     \
	struct {                                  \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, 1);           \
		__type(key, __u32);               \
		__type(value, value_type);        \
	} name SEC(".maps")

ONE(arrived, __u64);
ONE(witnessed, struct seen);

struct judged {
	__u64 whole;
	__u64 mixed;
	__u64 unfiltered;
};

ONE(judgement, struct judged);

SEC("tc")
int gate(struct __sk_buff *skb)
{
	__u64 *count;
	__u32 key = 0;

	count = bpf_map_lookup_elem(&arrived, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	if (skb->protocol == bpf_htons(MARKER))
		return TC_ACT_SHOT;
	// Tests must not depend on values that the sender left there.
	for (int i = 0; i < 5; i++)
		skb->cb[i] = 0;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int witness(struct __sk_buff *skb)
{
	struct seen *seen;
	__u32 key = 0;

	seen = bpf_map_lookup_elem(&witnessed, &key);
	if (!seen)
		return TC_ACT_SHOT;
	seen->length = skb->len;
	seen->mark = skb->mark;
	seen->priority = skb->priority;
	for (int i = 0; i < 5; i++)
		seen->cb[i] = skb->cb[i];
	seen->tag_present = skb->vlan_present;
	seen->tag = skb->vlan_tci;
	bpf_skb_load_bytes(skb, 0, seen->bytes, BYTES);
	__sync_fetch_and_add(&seen->count, 1);
	return TC_ACT_SHOT;
}

// Every member stamped the number of its generation: different stamps show that two chains ran.
SEC("tc")
int judge(struct __sk_buff *skb)
{
	struct judged *judged;
	__u8 stamps[STAMPS];
	__u32 key = 0;

	judged = bpf_map_lookup_elem(&judgement, &key);
	if (!judged || bpf_skb_load_bytes(skb, FIRST_STAMP, stamps, STAMPS))
		return TC_ACT_SHOT;
	if (!stamps[0] && !stamps[1] && !stamps[2] && !stamps[3])
		__sync_fetch_and_add(&judged->unfiltered, 1);
	else if (stamps[0] == stamps[1] && stamps[1] == stamps[2] && stamps[2] == stamps[3])
		__sync_fetch_and_add(&judged->whole, 1);
	else
		__sync_fetch_and_add(&judged->mixed, 1);
	return TC_ACT_SHOT;
}

char _license[] SEC("license") = "GPL";
