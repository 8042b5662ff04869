// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Drops packets whose source address lies in a listed prefix. What no prefix matches goes on: XDP_PASS.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct prefix_v4 {
	__u32 length; // in bits
	__u8 address[4];
};

struct prefix_v6 {
	__u32 length;
	__u8 address[16];
};

struct count {
	__u64 packets;
	__u64 bytes;
};

// The rules. A value counts what its prefix has dropped; where prefixes overlap, the longest one counts.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v4);
	__type(value, struct count);
} blocked_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, struct count);
} blocked_v6 SEC(".maps");

// What became of the packets. User space reads these slots by number.
enum outcome { PASSED_V4, PASSED_V6, PASSED_OTHER, DROPPED_V4, DROPPED_V6, OUTCOMES };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, struct count);
} stats SEC(".maps");

static __always_inline int finish(__u32 outcome, __u64 bytes, int verdict)
{
	struct count *count = bpf_map_lookup_elem(&stats, &outcome);

	if (count) { // this CPU's own, so no atomics
		count->packets++;
		count->bytes += bytes;
	}
	return verdict;
}

static __always_inline int drop(struct count *rule, __u32 outcome, __u64 bytes)
{
	// A trie has no per-CPU form: its values are shared.
	__sync_fetch_and_add(&rule->packets, 1);
	__sync_fetch_and_add(&rule->bytes, bytes);
	return finish(outcome, bytes, XDP_DROP);
}

SEC("xdp")
int xdp_firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 bytes = end - data;
	struct ethhdr *eth = data;
	struct count *rule;

	if ((void *)(eth + 1) > end)
		return finish(PASSED_OTHER, bytes, XDP_PASS);

	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		struct prefix_v4 source = { .length = 32 };

		if ((void *)(ip + 1) > end)
			return finish(PASSED_OTHER, bytes, XDP_PASS);
		__builtin_memcpy(source.address, &ip->saddr, sizeof(source.address));
		rule = bpf_map_lookup_elem(&blocked_v4, &source);
		if (rule)
			return drop(rule, DROPPED_V4, bytes);
		return finish(PASSED_V4, bytes, XDP_PASS);
	}

	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = (void *)(eth + 1);
		struct prefix_v6 source = { .length = 128 };

		if ((void *)(ip6 + 1) > end)
			return finish(PASSED_OTHER, bytes, XDP_PASS);
		__builtin_memcpy(source.address, &ip6->saddr, sizeof(source.address));
		rule = bpf_map_lookup_elem(&blocked_v6, &source);
		if (rule)
			return drop(rule, DROPPED_V6, bytes);
		return finish(PASSED_V6, bytes, XDP_PASS);
	}

	return finish(PASSED_OTHER, bytes, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
