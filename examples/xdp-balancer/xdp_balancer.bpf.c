// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Sends packets for virtual addresses to backends: an unchanged packet is encapsulated in another one, whose
// destination is the backend, which answers directly to the client.
//
// A connection goes to the backend that the table of its virtual address has (Maglev: user space fills the tables so
// that adding or removing a backend moves few connections of others), and stays there as long as `connections` has it.
//
// There are two generations of virtual addresses and tables. Packets use the one that `active` names; user space fills the
// other and then changes `active`. Backends keep their numbers in all generations, so that connections can store
// them. A number that is assigned to another backend gets another epoch.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addresses.h"

#define MAX_SERVICES 64
#define SLOTS 1024 // a power of two
#define MAX_BACKENDS 1024
#define TABLE_SIZE 4099 // a prime: Maglev needs one
#define MAX_CONNECTIONS 131072
#define NO_BACKEND 0xffffffff
#define FACTOR 0xff51afd7ed558ccdULL // odd, with well mixed bits

#define AF_INET 2
#define AF_INET6 10
#define IP_DONT_FRAGMENT 0x4000
#define IP_FRAGMENT 0x3fff // more fragments, or an offset
#define HOPS 64
#define IP_WORDS ((int)(sizeof(struct iphdr) / sizeof(__u32)))

// <linux/icmp.h> needs headers of a C library.
struct icmp_error {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 about;
};
#define ICMP_DEST_UNREACH 3
#define ICMP_TIME_EXCEEDED 11
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMPROB 4

// Routing of the outer packet: 0: back to the router of the inner packet; 1: by this machine's routes.
const volatile __u32 by_routes = 0;

// A virtual address with a port.
struct service {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 family;
};

// Addresses and ports of a packet from the client.
struct flow {
	struct address client;
	struct service service;
	__be16 port;
	__u16 zero;
};

struct slot {
	struct service service;
	__u32 number;
	__u32 identity; // no other service has had it
};

struct connection {
	struct address client;
	__u32 service; // its identity
	__u32 port; // in the packet's byte order; one word, because reading a word written in halves is slow
};

struct placement {
	__u32 backend;
	__u32 epoch;
};

enum state { GONE, UP, DRAINING, DOWN };

struct backend {
	struct address address;
	__u8 family;
	__u8 state;
	__u16 zero;
	__u32 epoch;
};

// Settings, by generation.
struct settings {
	struct address source_v4; // of outer packets
	struct address source_v6;
	__u32 mtu; // the largest outer packet
	__u32 seed; // of slots
	__u32 identities; // for user space only: number of identities assigned so far
};

struct count {
	__u64 packets;
	__u64 bytes;
};

// Outcomes of packets for virtual addresses.
enum outcome { FORWARDED, CONNECTIONS, NO_BACKEND_LEFT, TOO_LARGE, NO_ROUTE, FRAGMENTS, ICMP_ERRORS, OUTCOMES };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} active SEC(".maps");

// Each virtual address is in the slot of its hash: user space has chosen a seed by which no two share one.
struct slots {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct slot);
} slots_0 SEC(".maps"), slots_1 SEC(".maps");

// TABLE_SIZE numbers of backends for each virtual address.
struct tables {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES * TABLE_SIZE);
	__type(key, __u32);
	__type(value, __u32);
} tables_0 SEC(".maps"), tables_1 SEC(".maps");

// For user space only: weights, by the numbers of virtual address and backend.
struct members {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32[2]);
	__type(value, __u32);
} members_0 SEC(".maps"), members_1 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CONNECTIONS);
	__type(key, struct connection);
	__type(value, struct placement);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SERVICES);
	__type(key, __u32);
	__type(value, struct count);
} service_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__type(key, __u32);
	__type(value, struct count);
} backend_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, __u64);
} outcomes SEC(".maps");

// For user space only: the process that may write.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} writer SEC(".maps");

// Data of a packet.
struct packet {
	struct flow flow;
	__u32 length; // of the inner packet
	bool fresh; // the first of a TCP connection
	bool icmp_error; // about a packet of the connection
	bool fragment;
	__u8 traffic_class;
};

static __always_inline void note(enum outcome outcome)
{
	__u32 place = outcome;
	__u64 *count = bpf_map_lookup_elem(&outcomes, &place);

	if (count)
		(*count)++;
}

static __always_inline void add(void *counts, __u32 place, __u32 bytes)
{
	struct count *count = bpf_map_lookup_elem(counts, &place);

	if (count) {
		count->packets++;
		count->bytes += bytes;
	}
}

// Reads the ports behind an IP header; `reverse` for a packet from the service to the client.
static __always_inline bool read_ports(struct packet *packet, void *ports, void *end, bool reverse)
{
	struct udphdr *udp = ports; // TCP has its ports in the same place
	struct tcphdr *tcp = ports;

	if ((void *)(udp + 1) > end)
		return false;
	packet->flow.port = reverse ? udp->dest : udp->source;
	packet->flow.service.port = reverse ? udp->source : udp->dest;
	if (!reverse && packet->flow.service.protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return false;
		packet->fresh = tcp->syn && !tcp->ack;
	}
	return true;
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

static __always_inline bool read_v4(struct packet *packet, struct iphdr *ip, void *end)
{
	struct flow *flow = &packet->flow;
	struct icmp_error *icmp;
	struct iphdr *inner;

	if ((void *)(ip + 1) > end || ip->ihl != 5)
		return false;
	packet->length = bpf_ntohs(ip->tot_len);
	packet->traffic_class = ip->tos;
	flow->service.family = AF_INET;
	if (ip->protocol == IPPROTO_ICMP) {
		icmp = (void *)(ip + 1);
		inner = (void *)(icmp + 1);
		if ((void *)(inner + 1) > end || inner->ihl != 5 || !has_ports(inner->protocol) ||
		    (icmp->type != ICMP_DEST_UNREACH && icmp->type != ICMP_TIME_EXCEEDED))
			return false;
		packet->icmp_error = true;
		flow->client = address_of_v4(inner->daddr);
		flow->service.address = address_of_v4(inner->saddr);
		flow->service.protocol = inner->protocol;
		return read_ports(packet, inner + 1, end, true);
	}
	flow->client = address_of_v4(ip->saddr);
	flow->service.address = address_of_v4(ip->daddr);
	flow->service.protocol = ip->protocol;
	if (!has_ports(ip->protocol))
		return false;
	packet->fragment = ip->frag_off & bpf_htons(IP_FRAGMENT);
	return packet->fragment || read_ports(packet, ip + 1, end, false);
}

static __always_inline bool read_v6(struct packet *packet, struct ipv6hdr *ip, void *end)
{
	struct flow *flow = &packet->flow;
	struct icmp_error *icmp;
	struct ipv6hdr *inner;

	if ((void *)(ip + 1) > end)
		return false;
	packet->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	packet->traffic_class = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	flow->service.family = AF_INET6;
	if (ip->nexthdr == IPPROTO_ICMPV6) {
		icmp = (void *)(ip + 1);
		inner = (void *)(icmp + 1);
		if ((void *)(inner + 1) > end || !has_ports(inner->nexthdr) ||
		    icmp->type < ICMPV6_DEST_UNREACH || icmp->type > ICMPV6_PARAMPROB)
			return false;
		packet->icmp_error = true;
		flow->client = address_of_v6(&inner->daddr);
		flow->service.address = address_of_v6(&inner->saddr);
		flow->service.protocol = inner->nexthdr;
		return read_ports(packet, inner + 1, end, true);
	}
	flow->client = address_of_v6(&ip->saddr);
	flow->service.address = address_of_v6(&ip->daddr);
	flow->service.protocol = ip->nexthdr;
	return has_ports(ip->nexthdr) && read_ports(packet, ip + 1, end, false);
}

// Returns the service of a packet, or NULL. User space computes the same hash.
static __always_inline struct slot *find_service(const struct service *service, bool odd, __u32 seed)
{
	const __u32 *words = (const __u32 *)service;
	__u64 sum = 0, factor = FACTOR;
	__u32 difference = 0, place;
	struct slot *slot;

	// Each word has its own factor, so that the products are independent of one another.
#pragma unroll
	for (int word = 0; word < (int)(sizeof(*service) / sizeof(__u32)); word++, factor *= FACTOR)
		sum += (words[word] ^ seed) * factor;
	place = (sum >> 32) % SLOTS;
	slot = odd ? bpf_map_lookup_elem(&slots_1, &place) : bpf_map_lookup_elem(&slots_0, &place);
	if (!slot)
		return NULL;
#pragma unroll
	for (int word = 0; word < (int)(sizeof(*service) / sizeof(__u32)); word++)
		difference |= words[word] ^ ((const __u32 *)&slot->service)[word];
	return difference ? NULL : slot;
}

// Returns a pseudo-random number for a flow, the same on each machine.
static __always_inline __u32 hash(const struct flow *flow)
{
	const __u32 *words = (const __u32 *)flow;
	__u64 sum = 0x9e3779b97f4a7c15ULL;

#pragma unroll
	for (int word = 0; word < (int)(sizeof(*flow) / sizeof(__u32)); word++)
		sum = (sum ^ words[word]) * FACTOR + (sum >> 29);
	return sum ^ sum >> 32;
}

// Returns the backend of a connection: its current one while that accepts packets, otherwise the one in the table.
static __always_inline struct backend *choose(const struct packet *packet, const struct slot *service, bool odd,
					      __u32 *number)
{
	struct connection connection = {
		.client = packet->flow.client, .service = service->identity, .port = packet->flow.port
	};
	struct placement *placed = packet->fresh ? NULL : bpf_map_lookup_elem(&connections, &connection);
	struct placement made;
	struct backend *backend;
	__u32 slot;
	__u32 *found;

	if (placed) {
		*number = placed->backend;
		backend = bpf_map_lookup_elem(&backends, number);
		if (backend && backend->epoch == placed->epoch && (backend->state == UP || backend->state == DRAINING))
			return backend;
	}
	slot = service->number * TABLE_SIZE + hash(&packet->flow) % TABLE_SIZE;
	found = odd ? bpf_map_lookup_elem(&tables_1, &slot) : bpf_map_lookup_elem(&tables_0, &slot);
	if (!found || *found == NO_BACKEND)
		return NULL;
	*number = *found;
	backend = bpf_map_lookup_elem(&backends, number);
	if (!backend)
		return NULL;
	if (!packet->icmp_error) {
		made.backend = *number;
		made.epoch = backend->epoch;
		bpf_map_update_elem(&connections, &connection, &made, BPF_ANY);
		note(CONNECTIONS);
	}
	return backend;
}

// Returns the checksum of an IPv4 header.
static __always_inline __u16 header_sum(const __be32 *words)
{
	__u64 sum = 0;

#pragma unroll
	for (int word = 0; word < IP_WORDS; word++)
		sum += words[word];
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

// Writes an Ethernet header with swapped addresses, from the old one, in whose place the outer IP header comes.
static __always_inline void turn_back(struct ethhdr *ether, const struct ethhdr *old)
{
	// Without this, clang assumes no alignment, and copies byte by byte.
	const __u16 *from = __builtin_assume_aligned(old, 2);
	__u16 *to = __builtin_assume_aligned(ether, 2);

	__builtin_memcpy(to, from + ETH_ALEN / 2, ETH_ALEN);
	__builtin_memcpy(to + ETH_ALEN / 2, from, ETH_ALEN);
}

// Writes the outer Ethernet and IP headers.
static __always_inline bool wrap_v4(struct xdp_md *ctx, const struct packet *packet, const struct backend *backend,
				    const struct settings *settings)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data;
	struct iphdr *ip = (void *)(ether + 1);
	__u32 protocol = packet->flow.service.family == AF_INET ? IPPROTO_IPIP : IPPROTO_IPV6;
	__be32 words[IP_WORDS];

	if ((void *)(ip + 1) > end)
		return false;
	turn_back(ether, data + sizeof(*ip));
	ether->h_proto = bpf_htons(ETH_P_IP);
	// Written as words: reading smaller writes back as words, for the checksum, would be slow.
	words[0] = bpf_htonl(4 << 28 | 5 << 24 | packet->traffic_class << 16 | ((packet->length + sizeof(*ip)) & 0xffff));
	words[1] = bpf_htonl(IP_DONT_FRAGMENT);
	words[2] = bpf_htonl(HOPS << 24 | protocol << 16);
	words[3] = settings->source_v4.words[0];
	words[4] = backend->address.words[0];
	words[2] |= bpf_htonl(bpf_ntohs(header_sum(words)));
#pragma unroll
	for (int word = 0; word < IP_WORDS; word++)
		((__be32 *)ip)[word] = words[word];
	return true;
}

static __always_inline bool wrap_v6(struct xdp_md *ctx, const struct packet *packet, const struct backend *backend,
				    const struct settings *settings)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data;
	struct ipv6hdr *ip = (void *)(ether + 1);

	if ((void *)(ip + 1) > end)
		return false;
	turn_back(ether, data + sizeof(*ip));
	ether->h_proto = bpf_htons(ETH_P_IPV6);
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->priority = packet->traffic_class >> 4;
	ip->flow_lbl[0] = packet->traffic_class << 4;
	ip->payload_len = bpf_htons(packet->length);
	ip->nexthdr = packet->flow.service.family == AF_INET ? IPPROTO_IPIP : IPPROTO_IPV6;
	ip->hop_limit = HOPS;
	__builtin_memcpy(&ip->saddr, &settings->source_v6, sizeof(ip->saddr));
	__builtin_memcpy(&ip->daddr, &backend->address, sizeof(ip->daddr));
	return true;
}

// Sends the outer packet by this machine's routes.
static __always_inline int route(struct xdp_md *ctx, const struct backend *backend, const struct settings *settings,
				 __u32 length)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data;
	struct bpf_fib_lookup fib = { .family = backend->family, .tot_len = length, .ifindex = ctx->ingress_ifindex };

	if (backend->family == AF_INET) {
		fib.ipv4_src = settings->source_v4.words[0];
		fib.ipv4_dst = backend->address.words[0];
	} else {
		__builtin_memcpy(fib.ipv6_src, &settings->source_v6, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &backend->address, sizeof(fib.ipv6_dst));
	}
	if ((void *)(ether + 1) > end || bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS) {
		note(NO_ROUTE);
		return XDP_DROP;
	}
	__builtin_memcpy(ether->h_dest, fib.dmac, ETH_ALEN);
	__builtin_memcpy(ether->h_source, fib.smac, ETH_ALEN);
	note(FORWARDED);
	return fib.ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(fib.ifindex, 0);
}

SEC("xdp")
int xdp_balancer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data;
	struct packet packet = {};
	struct settings *in_force;
	struct backend *backend;
	__u32 zero = 0, number = 0, generation, outer;
	struct slot *service;
	__u32 *now;
	bool odd, read;

	if ((void *)(ether + 1) > end)
		return XDP_PASS;
	if (ether->h_proto == bpf_htons(ETH_P_IP))
		read = read_v4(&packet, (void *)(ether + 1), end);
	else if (ether->h_proto == bpf_htons(ETH_P_IPV6))
		read = read_v6(&packet, (void *)(ether + 1), end);
	else
		return XDP_PASS;
	now = bpf_map_lookup_elem(&active, &zero);
	if (!read || !now)
		return XDP_PASS;
	if (packet.fragment) {
		// Without ports, the connection is unknown.
		note(FRAGMENTS);
		return XDP_PASS;
	}
	generation = *now & 1;
	odd = generation;
	in_force = bpf_map_lookup_elem(&settings, &generation);
	if (!in_force)
		return XDP_PASS;
	service = find_service(&packet.flow.service, odd, in_force->seed);
	if (!service)
		return XDP_PASS;
	add(&service_counts, service->number, packet.length);
	backend = choose(&packet, service, odd, &number);
	if (!backend) {
		note(NO_BACKEND_LEFT);
		return XDP_DROP;
	}
	outer = backend->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	if (packet.length + outer > in_force->mtu) {
		note(TOO_LARGE);
		return XDP_DROP;
	}
	if (packet.icmp_error)
		note(ICMP_ERRORS);
	add(&backend_counts, number, packet.length);
	if (backend->family == AF_INET) {
		if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)) ||
		    !wrap_v4(ctx, &packet, backend, in_force))
			return XDP_DROP;
	} else if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct ipv6hdr)) ||
		   !wrap_v6(ctx, &packet, backend, in_force)) {
		return XDP_DROP;
	}
	if (by_routes)
		return route(ctx, backend, in_force, packet.length + outer);
	note(FORWARDED);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
