// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Drops packets, or lets them pass, by rules on source or destination prefix, protocol and destination port; the
// first rule that matches decides. Packets without a matching rule pass on: XDP_PASS.
//
// The cost of a packet hardly depends on the number of rules. User space compiles them: every prefix becomes a class
// in a table, with the first rule for the whole prefix; rules with protocol or port are in another table, by class,
// or in the class if that has only one. The class of a prefix includes the rules of wider prefixes, so that a packet
// needs only its longest match: a binary search over the lengths of the prefixes (Waldvogel and others, "Scalable
// High Speed IP Routing Lookups", 1997).
//
// There are two generations of tables. Packets use the one that `active` names; user space fills the other and then
// changes `active`, a single word: each packet meets either all old rules or all new ones.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_RULES 131072
// Includes the entries that a search needs on the way to longer prefixes.
#define MAX_PREFIXES 262144
#define MAX_EXTENSIONS 6
#define IP_OFFSET 0x1fff
#define IP6_OFFSET 0xfff8

enum direction { SOURCE, DESTINATION };

// Keys of the tables. All address bits after the length are 0.
struct prefix_v4 {
	__be32 address;
	__u16 length;
	__u16 direction;
};

struct prefix_v6 {
	__be32 address[4];
	__u16 length;
	__u16 direction;
};

// The number of a rule in their order, times two; odd if it lets packets pass. The smallest is the first that matches.
#define NO_RULE 0xffffffff

struct decision {
	__u32 order;
	__u32 counter; // its index in `counters`
};

struct class {
	struct decision plain; // the first rule without protocol and port
	__u32 number;
	__u32 looks; // LOOK_ONE, or LOOK_PROTOCOL and LOOK_PORT
	// With LOOK_ONE: the only entry that the class would have in the table.
	__u16 protocol;
	__u16 port; // 0: any
	struct decision one;
};

struct detail {
	__u32 class; // 0: rules without a prefix
	__u16 protocol; // or ANY_PROTOCOL
	__u16 port; // of the host's byte order; 0: any
};

#define ANY_PROTOCOL 0xffff

// Bits of necessary lookups, which save the others. A class uses the first two, or the last; `active` uses all but
// the last.
#define LOOK_PROTOCOL 0x01
#define LOOK_PORT 0x02
#define LOOK_ALL 0x04 // a rule without conditions
#define LOOK_SOURCE_V4 0x08
#define LOOK_DESTINATION_V4 0x10
#define LOOK_SOURCE_V6 0x20
#define LOOK_DESTINATION_V6 0x40
#define LOOK_ONE 0x80

// Bit 0: the generation. From bit 1: the necessary lookups. From bit 32: the number of rules.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} active SEC(".maps");

struct prefixes_v4 {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v4);
	__type(value, struct class);
} prefixes_v4_0 SEC(".maps"), prefixes_v4_1 SEC(".maps");

struct prefixes_v6 {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, struct class);
} prefixes_v6_0 SEC(".maps"), prefixes_v6_1 SEC(".maps");

// A search for the longest prefix: each step looks for one length. If it finds an entry, the longest match has this
// length or a longer one, otherwise a shorter one. Where only longer prefixes exist, the table has a marker, with
// the class of the longest prefix around it: the entry found last decides.
struct step_v4 {
	__be32 mask;
	__u8 length;
	__u8 longer, shorter; // the next steps; 0: none
	__u8 unused;
};

struct step_v6 {
	__be32 mask[4];
	__u8 length;
	__u8 longer, shorter;
	__u8 unused;
};

// Maximum number of steps for the 33 lengths of IPv4 prefixes, and for the 129 of IPv6 prefixes.
#define MAX_STEPS_V4 6
#define MAX_STEPS_V6 8
#define STEPS_V4 64
#define STEPS_V6 256

struct search_v4 {
	struct step_v4 steps[STEPS_V4];
};

struct search_v6 {
	struct step_v6 steps[STEPS_V6];
};

// Index: the generation, times two, plus the direction.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct search_v4);
} searches_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct search_v6);
} searches_v6 SEC(".maps");

struct details {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct detail);
	__type(value, struct decision);
} details_0 SEC(".maps"), details_1 SEC(".maps");

struct count {
	__u64 packets;
	__u64 bytes;
};

// Counters of rules. Both generations use them: a rule that stays keeps its index and its counts.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * MAX_RULES);
	__type(key, __u32);
	__type(value, struct count);
} counters SEC(".maps");

// For user space only: the rules as text, in their order. Packets do not use them.
struct rule {
	__u8 bytes[32];
};

// In pages, so that all rules are read and written with few system calls.
#define RULES_OF_PAGE 128

struct page {
	struct rule rules[RULES_OF_PAGE];
};

struct rules {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_RULES / RULES_OF_PAGE);
	__type(key, __u32);
	__type(value, struct page);
} rules_0 SEC(".maps"), rules_1 SEC(".maps");

// For user space only: the contents of a generation, unless a process has begun to change it.
struct filling {
	__u64 rules;
	__u64 sum; // of its tables; 0: unknown
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct filling);
} fillings SEC(".maps");

// For user space only: the process that fills a generation holds the single entry.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} writer SEC(".maps");

// Outcomes of packets. User space reads these slots by number.
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

// Fields that rules can match. `port` is 0 if it cannot be read: in later fragments, or in a header that is cut short.
struct packet {
	bool v6;
	__u8 protocol;
	__u16 port;
	__be32 source_v4, destination_v4;
	struct in6_addr *source_v6, *destination_v6;
};

static __always_inline void first_of(struct decision *first, struct decision *other)
{
	if (other && other->order < first->order)
		*first = *other;
}

// The details of a class for protocol and port include the rules that require less: the first lookup that finds an
// entry decides.
static __always_inline void look_at_details(struct decision *first, struct packet *packet, void *details,
					    __u32 class, __u32 looks)
{
	struct detail key = { .class = class, .protocol = packet->protocol, .port = packet->port };
	struct decision *found;

	if ((looks & LOOK_PORT) && packet->port) {
		found = bpf_map_lookup_elem(details, &key);
		if (found)
			return first_of(first, found);
	}
	if (looks & LOOK_PROTOCOL) {
		key.port = 0;
		first_of(first, bpf_map_lookup_elem(details, &key));
	}
}

static __always_inline void look_at_class(struct decision *first, struct packet *packet, struct class *class,
					  void *details)
{
	if (!class)
		return;
	first_of(first, &class->plain);
	if (class->looks & LOOK_ONE) {
		// Most rules with a port have a prefix of their own: then its class, already read, has the only entry.
		if (class->protocol == packet->protocol && (!class->port || class->port == packet->port))
			first_of(first, &class->one);
	} else if (class->looks) {
		look_at_details(first, packet, details, class->number, class->looks);
	}
}

static __always_inline struct class *class_v4(__be32 address, enum direction direction, __u32 generation,
					      void *prefixes)
{
	struct prefix_v4 key = { .direction = direction };
	struct class *class = NULL;
	__u32 number = 2 * generation + direction;
	struct search_v4 *search = bpf_map_lookup_elem(&searches_v4, &number);
	__u8 at = 0;

	if (!search)
		return NULL;
	for (int i = 0; i < MAX_STEPS_V4; i++) {
		struct step_v4 *step = &search->steps[at % STEPS_V4];
		struct class *found;

		key.address = address & step->mask;
		key.length = step->length;
		found = bpf_map_lookup_elem(prefixes, &key);
		if (found)
			class = found;
		at = found ? step->longer : step->shorter;
		if (!at)
			break;
	}
	return class;
}

static __always_inline struct class *class_v6(struct in6_addr *address, enum direction direction, __u32 generation,
					      void *prefixes)
{
	struct prefix_v6 key = { .direction = direction };
	struct class *class = NULL;
	__u32 number = 2 * generation + direction;
	struct search_v6 *search = bpf_map_lookup_elem(&searches_v6, &number);
	__u8 at = 0;

	if (!search)
		return NULL;
	for (int i = 0; i < MAX_STEPS_V6; i++) {
		struct step_v6 *step = &search->steps[at];
		struct class *found;

#pragma unroll
		for (int word = 0; word < 4; word++)
			key.address[word] = address->in6_u.u6_addr32[word] & step->mask[word];
		key.length = step->length;
		found = bpf_map_lookup_elem(prefixes, &key);
		if (found)
			class = found;
		at = found ? step->longer : step->shorter;
		if (!at)
			break;
	}
	return class;
}

static __always_inline struct decision decide(struct packet *packet, __u32 looks, __u32 generation, void *v4,
					      void *v6, void *details)
{
	struct decision first;

	first.order = NO_RULE;
	first.counter = 0;
	if (packet->v6) {
		if (looks & LOOK_SOURCE_V6)
			look_at_class(&first, packet, class_v6(packet->source_v6, SOURCE, generation, v6), details);
		if (looks & LOOK_DESTINATION_V6)
			look_at_class(&first, packet, class_v6(packet->destination_v6, DESTINATION, generation, v6),
				      details);
	} else {
		if (looks & LOOK_SOURCE_V4)
			look_at_class(&first, packet, class_v4(packet->source_v4, SOURCE, generation, v4), details);
		if (looks & LOOK_DESTINATION_V4)
			look_at_class(&first, packet, class_v4(packet->destination_v4, DESTINATION, generation, v4),
				      details);
	}
	if (looks & LOOK_ALL) {
		struct detail all = { .protocol = ANY_PROTOCOL };

		first_of(&first, bpf_map_lookup_elem(details, &all));
	}
	if (looks & (LOOK_PROTOCOL | LOOK_PORT))
		look_at_details(&first, packet, details, 0, looks);
	return first;
}

static __always_inline int judge(struct packet *packet, __u64 bytes)
{
	__u32 key = 0;
	__u64 *current = bpf_map_lookup_elem(&active, &key);
	struct decision first;
	struct count *count;

	first.order = NO_RULE;
	first.counter = 0;
	if (current) {
		__u64 now = *(volatile __u64 *)current; // once: it may change meanwhile
		__u32 looks = (__u32)now >> 1;

		if (looks)
			first = now & 1 ? decide(packet, looks, 1, &prefixes_v4_1, &prefixes_v6_1, &details_1) :
					  decide(packet, looks, 0, &prefixes_v4_0, &prefixes_v6_0, &details_0);
	}
	if (first.order == NO_RULE)
		return finish(packet->v6 ? PASSED_V6 : PASSED_V4, bytes, XDP_PASS);
	count = bpf_map_lookup_elem(&counters, &first.counter);
	if (count) { // for every CPU there would be too many of them
		__sync_fetch_and_add(&count->packets, 1);
		__sync_fetch_and_add(&count->bytes, bytes);
	}
	if (first.order & 1)
		return finish(packet->v6 ? PASSED_V6 : PASSED_V4, bytes, XDP_PASS);
	return finish(packet->v6 ? DROPPED_V6 : DROPPED_V4, bytes, XDP_DROP);
}

// TCP, UDP and SCTP begin with the same two ports.
static __always_inline __u16 destination_port(__u8 protocol, void *header, void *end)
{
	__be16 *ports = header;

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP)
		return 0;
	return (void *)(ports + 2) > end ? 0 : bpf_ntohs(ports[1]);
}

// The first eight bytes of every extension header; the length counts further units of eight bytes.
struct extension {
	__u8 next;
	__u8 length;
	__be16 offset; // of a fragment
	__u8 data[4];
};

static __always_inline void look_behind_extensions(struct packet *packet, struct ipv6hdr *ip6, void *end)
{
	struct extension *header = (void *)(ip6 + 1);

	packet->protocol = ip6->nexthdr;
#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 protocol = packet->protocol;

		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_ROUTING && protocol != IPPROTO_FRAGMENT &&
		    protocol != IPPROTO_DSTOPTS)
			break;
		if ((void *)(header + 1) > end)
			return;
		packet->protocol = header->next;
		if (protocol == IPPROTO_FRAGMENT && (header->offset & bpf_htons(IP6_OFFSET)))
			return;
		header += protocol == IPPROTO_FRAGMENT ? 1 : 1 + header->length;
		// Otherwise clang computes the pointer again for the next read, and the verifier loses the checked bound.
		barrier_var(header);
	}
	packet->port = destination_port(packet->protocol, header, end);
}

SEC("xdp")
int xdp_firewall(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 bytes = end - data;
	struct ethhdr *eth = data;
	struct packet packet = {};

	if ((void *)(eth + 1) > end)
		return finish(PASSED_OTHER, bytes, XDP_PASS);

	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return finish(PASSED_OTHER, bytes, XDP_PASS);
		packet.source_v4 = ip->saddr;
		packet.destination_v4 = ip->daddr;
		packet.protocol = ip->protocol;
		if (!(ip->frag_off & bpf_htons(IP_OFFSET)))
			packet.port = destination_port(ip->protocol, (void *)ip + ip->ihl * 4, end);
		return judge(&packet, bytes);
	}

	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = (void *)(eth + 1);

		if ((void *)(ip6 + 1) > end)
			return finish(PASSED_OTHER, bytes, XDP_PASS);
		packet.v6 = true;
		packet.source_v6 = &ip6->saddr;
		packet.destination_v6 = &ip6->daddr;
		look_behind_extensions(&packet, ip6, end);
		return judge(&packet, bytes);
	}

	return finish(PASSED_OTHER, bytes, XDP_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
