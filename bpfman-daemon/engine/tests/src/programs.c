// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs of every kind that the engine's tests attach. Each XDP and TC program has code of its own, so that no two
// have the same tag, and all of them count in one map.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

const volatile __u32 verdict = 2;

static __always_inline void count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &slot);

	if (value)
		__sync_fetch_and_add(value, 1);
}

#define XDP(name, slot)                                                                                                \
	SEC("xdp")                                                                                                     \
	int name(struct xdp_md *ctx)                                                                                   \
	{                                                                                                              \
		count(slot);                                                                                           \
		return verdict;                                                                                        \
	}

XDP(alpha, 0)
XDP(bravo, 1)
XDP(charlie, 2)
XDP(delta, 3)

SEC("xdp.frags")
int frags(struct xdp_md *ctx)
{
	count(11);
	return verdict;
}

#define TC(name, slot)                                                                                                 \
	SEC("tc")                                                                                                      \
	int name(struct __sk_buff *skb)                                                                                \
	{                                                                                                              \
		count(slot);                                                                                           \
		return skb->mark;                                                                                      \
	}

TC(tango, 4)
TC(tulip, 5)

#define TCX(name, slot)                                                                                                \
	SEC("tcx/ingress")                                                                                             \
	int name(struct __sk_buff *skb)                                                                                \
	{                                                                                                              \
		count(slot);                                                                                           \
		return -1;                                                                                             \
	}

TCX(xray, 6)
TCX(yankee, 7)
TCX(zulu, 8)

SEC("tracepoint/sched/sched_switch")
int trace(void *ctx)
{
	count(9);
	return 0;
}

SEC("uprobe")
int probe(void *ctx)
{
	count(10);
	return 0;
}

char _license[] SEC("license") = "GPL";
