// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Counts packets and bytes by protocol, on each CPU separately, and passes every packet on: XDP_PASS.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Slots: 0 to 255 for protocols over IPv4, 256 to 511 for those over IPv6, then these three.
#define SLOT_IPV4 0
#define SLOT_IPV6 256
#define SLOT_ARP 512
#define SLOT_OTHER 513
#define SLOT_MALFORMED 514 // shorter than its headers say
#define SLOTS 515

#define MAX_EXTENSIONS 4

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct count);
} protocols SEC(".maps");

// The first eight bytes of every extension header; the length counts further units of eight bytes.
struct extension {
	__u8 next;
	__u8 length;
	__u8 data[6];
};

static __always_inline __u32 slot_v6(struct ipv6hdr *ip6, void *end)
{
	__u8 protocol = ip6->nexthdr;
	struct extension *header = (void *)(ip6 + 1);

#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_ROUTING && protocol != IPPROTO_FRAGMENT &&
		    protocol != IPPROTO_DSTOPTS)
			break;
		if ((void *)(header + 1) > end)
			return SLOT_MALFORMED;
		// A fragment header has no length: it is always one unit.
		__u32 units = protocol == IPPROTO_FRAGMENT ? 1 : 1 + header->length;
		protocol = header->next;
		header += units;
		// Otherwise clang computes the pointer again for the next read, and the verifier loses the checked bound.
		barrier_var(header);
	}
	return SLOT_IPV6 + protocol;
}

static __always_inline __u32 slot_of(void *data, void *end)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return SLOT_MALFORMED;
	switch (bpf_ntohs(eth->h_proto)) {
	case ETH_P_IP: {
		struct iphdr *ip = (void *)(eth + 1);

		return (void *)(ip + 1) > end ? SLOT_MALFORMED : SLOT_IPV4 + ip->protocol;
	}
	case ETH_P_IPV6: {
		struct ipv6hdr *ip6 = (void *)(eth + 1);

		return (void *)(ip6 + 1) > end ? SLOT_MALFORMED : slot_v6(ip6, end);
	}
	case ETH_P_ARP:
		return SLOT_ARP;
	default:
		return SLOT_OTHER;
	}
}

SEC("xdp")
int xdp_counter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 slot = slot_of(data, end);
	struct count *count = bpf_map_lookup_elem(&protocols, &slot);

	if (count) { // this CPU's own, so no atomics
		count->packets++;
		count->bytes += end - data;
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
