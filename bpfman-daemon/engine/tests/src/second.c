// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A second version of some programs of programs.c: other code, the map `counts` unchanged or as macros define it, and
// one more map.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef ENTRIES
#define ENTRIES 16
#endif
#ifndef VALUE
#define VALUE __u64
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENTRIES);
	__type(key, __u32);
	__type(value, VALUE);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} extra SEC(".maps");

const volatile __u32 verdict = 1;

static __always_inline void count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &slot);

	if (value)
		__sync_fetch_and_add(value, 1000 + verdict);
	bpf_map_update_elem(&extra, &slot, &slot, BPF_ANY);
}

SEC("xdp")
int alpha(struct xdp_md *ctx)
{
	count(0);
	return verdict;
}

SEC("xdp")
int bravo(struct xdp_md *ctx)
{
	count(1);
	return verdict;
}

// Not in programs.c.
SEC("xdp")
int echo(struct xdp_md *ctx)
{
	count(12);
	return verdict;
}

SEC("tc")
int tango(struct __sk_buff *skb)
{
	count(4);
	return skb->mark;
}

SEC("tc")
int tulip(struct __sk_buff *skb)
{
	count(5);
	return skb->mark;
}

SEC("tcx/ingress")
int xray(struct __sk_buff *skb)
{
	count(6);
	return -1;
}

SEC("tracepoint/sched/sched_switch")
int trace(void *ctx)
{
	count(9);
	return 0;
}

char _license[] SEC("license") = "GPL";
