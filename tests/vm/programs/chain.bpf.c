// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Three members for XDP and three for TC. Each counts the packets of `act send`, records its position in the order,
// and returns the verdict that user space put into the map.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_ACT 0x88b5 // kept free for local experiments

struct member {
	__u64 packets;
	__u32 turn; // of the last packet: 1 for the first member to see it
	__s32 verdict;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct member);
} members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} turns SEC(".maps");

static __always_inline int step(void *data, void *end, __u32 slot, int otherwise)
{
	struct ethhdr *eth = data;
	__u32 zero = 0, *turn = bpf_map_lookup_elem(&turns, &zero);
	struct member *member = bpf_map_lookup_elem(&members, &slot);

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(ETH_P_ACT) || !member || !turn)
		return otherwise;
	__sync_fetch_and_add(&member->packets, 1);
	member->turn = ++*turn;
	return member->verdict;
}

#define XDP_MEMBER(name, slot)                                                                                         \
	SEC("xdp")                                                                                                     \
	int xdp_##name(struct xdp_md *ctx)                                                                             \
	{                                                                                                              \
		return step((void *)(long)ctx->data, (void *)(long)ctx->data_end, slot, XDP_PASS);                     \
	}
#define TC_MEMBER(name, slot)                                                                                          \
	SEC("tc")                                                                                                      \
	int tc_##name(struct __sk_buff *ctx)                                                                           \
	{                                                                                                              \
		return step((void *)(long)ctx->data, (void *)(long)ctx->data_end, slot, 3 /* pipe */);                 \
	}

XDP_MEMBER(a, 0)
XDP_MEMBER(b, 1)
XDP_MEMBER(c, 2)
TC_MEMBER(a, 0)
TC_MEMBER(b, 1)
TC_MEMBER(c, 2)

char LICENSE[] SEC("license") = "Dual BSD/GPL";
