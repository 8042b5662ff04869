// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// TC members that change packets (directly, in size, by copies) or use loads of old filters (LD_ABS, LD_IND).
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

unsigned long long load_byte(void *skb, unsigned long long at) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long at) asm("llvm.bpf.load.half");

__u64 passed, classes[4];

static __always_inline __u8 *bytes(struct __sk_buff *skb, __u32 need)
{
	__u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return data + need > end ? (void *)0 : data;
}

// Constant offset: LD_ABS. A packet that is too short ends the program with 0.
SEC("tc")
int load_absolute(struct __sk_buff *skb)
{
	if (load_half(skb, 12) == 0x0800)
		return TC_ACT_PIPE;
	return load_byte(skb, 400) & 1 ? TC_ACT_PIPE : TC_ACT_UNSPEC;
}

// Offset from the packet's mark: LD_IND.
SEC("tc")
int load_indirect(struct __sk_buff *skb)
{
	if (load_byte(skb, skb->mark & 0xff) & 1)
		passed++;
	return TC_ACT_PIPE;
}

SEC("tc")
int write_directly(struct __sk_buff *skb)
{
	__u8 *packet = bytes(skb, 40);

	if (!packet)
		return TC_ACT_OK;
	packet[30] ^= packet[31] + 1;
	return packet[30] & 1 ? TC_ACT_PIPE : TC_ACT_SHOT;
}

SEC("tc")
int read_directly(struct __sk_buff *skb)
{
	__u8 *packet = bytes(skb, 40);

	if (packet)
		passed += packet[30];
	return TC_ACT_PIPE;
}

SEC("tc")
int longer_head(struct __sk_buff *skb)
{
	return bpf_skb_change_head(skb, 14, 0) ? TC_ACT_SHOT : TC_ACT_PIPE;
}

SEC("tc")
int longer_tail(struct __sk_buff *skb)
{
	return bpf_skb_change_tail(skb, skb->len + 11, 0) ? TC_ACT_SHOT : TC_ACT_PIPE;
}

SEC("tc")
int push_tag(struct __sk_buff *skb)
{
	return bpf_skb_vlan_push(skb, __builtin_bswap16(0x8100), 42) ? TC_ACT_SHOT : TC_ACT_PIPE;
}

SEC("tc")
int pop_tag(struct __sk_buff *skb)
{
	if (skb->vlan_present && bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
	return skb->vlan_present ? TC_ACT_OK : TC_ACT_PIPE;
}

SEC("tc")
int send_copy(struct __sk_buff *skb)
{
	// To an interface that does not exist.
	if (bpf_clone_redirect(skb, 0x7fffffff, 0))
		passed++;
	return TC_ACT_PIPE;
}

SEC("tc")
int set_class(struct __sk_buff *skb)
{
	skb->tc_classid = 0x10001;
	skb->cb[4] = skb->tc_classid;
	skb->priority = skb->tc_classid & 0xffff;
	return TC_ACT_PIPE;
}

SEC("tc")
int read_class(struct __sk_buff *skb)
{
	classes[skb->cb[4] & 3] += skb->priority;
	return skb->priority & 1 ? TC_ACT_PIPE : TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
