// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Records the flows that pass an interface, and dropped packets with the kernel's reason. The two tcx programs see
// incoming and outgoing packets and let all of them pass; the third sees each packet that the kernel drops,
// in any network namespace.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MAX_FLOWS 65536
#define MAX_DROPS 16384
#define MAX_EXTENSIONS 6
#define IP_OFFSET 0x1fff
#define IP6_OFFSET 0xfff8
#define FIN 0x01
#define SYN 0x02
#define RST 0x04

enum direction { INGRESS, EGRESS, DROPPED };

// User space parses these structures by hand: fields in the machine's byte order, except addresses.
struct flow {
	__be32 source[4], destination[4]; // IPv4 as ::ffff:a.b.c.d
	__u16 source_port, destination_port; // 0 where there is none, also in later fragments
	__u8 protocol;
	__u8 direction;
	__u16 unused;
	__u32 interface; // of arrival for a drop, 0 if the packet was created here
};

struct record {
	__u64 packets;
	__u64 bytes; // with the link header at an interface; for a drop the rest of the packet
	__u64 first_seen, last_seen; // nanoseconds since boot, including suspend
	__u64 flags; // TCP flags of all packets
};

// The least recently used flow is evicted when the table is full.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow);
	__type(value, struct record);
} flows SEC(".maps");

struct drop {
	struct flow flow;
	__u32 reason; // enum skb_drop_reason of this kernel
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_DROPS);
	__type(key, struct drop);
	__type(value, struct record);
} drops SEC(".maps");

// NEW: a flow's first packet. ENDED: the first FIN or RST in its direction. DROP: a flow's first drop for a reason.
enum kind { NEW, ENDED, DROP };

struct event {
	struct record record;
	struct flow flow;
	__u32 kind;
	__u32 reason;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
	__type(value, struct event);
} events SEC(".maps");

// Counts events that found the ring buffer full.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

// Sums over all packets, including those of evicted flows. The first three slots are those of enum direction.
enum total { OTHER = DROPPED + 1, UNSTORED, TOTALS };

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TOTALS);
	__type(key, __u32);
	__type(value, struct count);
} totals SEC(".maps");

// Drops by reason; the last slot counts reasons that subsystems define.
#define REASONS 256

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

// The fields of the kernel's structure that are read here.
struct sk_buff {
	unsigned int len;
	int skb_iif;
	__be16 protocol;
	__u16 network_header;
	unsigned char *head;
} __attribute__((preserve_access_index));

// The counter belongs to this CPU, but an interrupt may come in between: atomic additions.
static __always_inline void add(void *map, __u32 slot, __u64 packets, __u64 bytes)
{
	struct count *count = bpf_map_lookup_elem(map, &slot);

	if (count) {
		__sync_fetch_and_add(&count->packets, packets);
		__sync_fetch_and_add(&count->bytes, bytes);
	}
}

static __always_inline void add_one(void *map, __u32 slot)
{
	__u64 *count = bpf_map_lookup_elem(map, &slot);

	if (count)
		__sync_fetch_and_add(count, 1);
}

// A packet as both kinds of hooks have it: `ctx` at an interface, `header` at a drop.
struct packet {
	struct __sk_buff *ctx;
	void *header;
	__u64 packets, bytes;
	__u64 flags;
};

static __always_inline bool read(struct packet *packet, __u32 offset, void *to, __u32 size)
{
	if (packet->ctx)
		return !bpf_skb_load_bytes_relative(packet->ctx, offset, to, size, BPF_HDR_START_NET);
	return !bpf_probe_read_kernel(to, size, packet->header + offset);
}

struct ports {
	__be16 source, destination;
	__u8 rest[9];
	__u8 flags;
};

static __always_inline void read_transport(struct packet *packet, __u32 offset, struct flow *flow)
{
	struct ports ports;

	if (flow->protocol == IPPROTO_TCP) {
		if (!read(packet, offset, &ports, 14))
			return;
		packet->flags = ports.flags;
	} else if (flow->protocol != IPPROTO_UDP && flow->protocol != IPPROTO_SCTP) {
		return;
	} else if (!read(packet, offset, &ports, 4)) {
		return;
	}
	flow->source_port = bpf_ntohs(ports.source);
	flow->destination_port = bpf_ntohs(ports.destination);
}

// The first four bytes of every extension header. The length counts further units of eight bytes.
struct extension {
	__u8 next;
	__u8 length;
	__be16 offset; // of a fragment
};

static __always_inline void look_behind_extensions(struct packet *packet, struct flow *flow)
{
	__u32 offset = sizeof(struct ipv6hdr);

	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		struct extension header;
		__u8 protocol = flow->protocol;

		if (protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_ROUTING && protocol != IPPROTO_FRAGMENT &&
		    protocol != IPPROTO_DSTOPTS)
			break;
		if (!read(packet, offset, &header, sizeof(header)))
			return;
		flow->protocol = header.next;
		if (protocol == IPPROTO_FRAGMENT && (header.offset & bpf_htons(IP6_OFFSET)))
			return;
		offset += protocol == IPPROTO_FRAGMENT ? 8 : 8 + header.length * 8;
	}
	read_transport(packet, offset, flow);
}

// Returns false for packets that are not IP, or cut short.
static __always_inline bool parse(struct packet *packet, __be16 protocol, struct flow *flow)
{
	if (protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (!read(packet, 0, &ip, sizeof(ip)) || ip.version != 4)
			return false;
		flow->source[2] = flow->destination[2] = bpf_htonl(0xffff);
		flow->source[3] = ip.saddr;
		flow->destination[3] = ip.daddr;
		flow->protocol = ip.protocol;
		if (!(ip.frag_off & bpf_htons(IP_OFFSET)))
			read_transport(packet, ip.ihl * 4, flow);
		return true;
	}
	if (protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip6;

		if (!read(packet, 0, &ip6, sizeof(ip6)) || ip6.version != 6)
			return false;
		__builtin_memcpy(flow->source, &ip6.saddr, sizeof(flow->source));
		__builtin_memcpy(flow->destination, &ip6.daddr, sizeof(flow->destination));
		flow->protocol = ip6.nexthdr;
		look_behind_extensions(packet, flow);
		return true;
	}
	return false;
}

static __always_inline void tell(enum kind kind, struct flow *flow, struct record *record, __u32 reason)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		add_one(&lost, 0);
		return;
	}
	event->record = *record;
	event->flow = *flow;
	event->kind = kind;
	event->reason = reason;
	event->unused = 0;
	bpf_ringbuf_submit(event, 0);
}

static __always_inline struct record first_record(struct packet *packet)
{
	__u64 now = bpf_ktime_get_boot_ns();

	return (struct record){ .packets = packet->packets, .bytes = packet->bytes, .first_seen = now,
				.last_seen = now, .flags = packet->flags };
}

// Other CPUs may write the same record: sums are atomic, and each time is a single word.
static __always_inline void grow(struct record *record, struct packet *packet)
{
	__sync_fetch_and_add(&record->packets, packet->packets);
	__sync_fetch_and_add(&record->bytes, packet->bytes);
	record->last_seen = bpf_ktime_get_boot_ns();
}

static __always_inline void remember(struct flow *flow, struct packet *packet)
{
	struct record *record = bpf_map_lookup_elem(&flows, flow);
	struct record first;

	// A connection that begins after the end of another one is a new flow.
	if (!record || ((packet->flags & SYN) && (record->flags & (FIN | RST)))) {
		first = first_record(packet);
		if (!bpf_map_update_elem(&flows, flow, &first, record ? BPF_ANY : BPF_NOEXIST)) {
			tell(NEW, flow, &first, 0);
			return;
		}
		record = bpf_map_lookup_elem(&flows, flow); // another CPU was faster
		if (!record) {
			add(&totals, UNSTORED, packet->packets, packet->bytes);
			return;
		}
	}
	grow(record, packet);
	if (packet->flags & ~record->flags) {
		__u64 before = __sync_fetch_and_or(&record->flags, packet->flags);

		if ((packet->flags & (FIN | RST)) && !(before & (FIN | RST)))
			tell(ENDED, flow, record, 0);
	}
}

static __always_inline int observe(struct __sk_buff *ctx, enum direction direction)
{
	struct packet packet = { .ctx = ctx, .packets = ctx->gso_segs ?: 1, .bytes = ctx->len };
	struct flow flow = { .direction = direction, .interface = ctx->ifindex };

	add(&totals, direction, packet.packets, packet.bytes);
	if (parse(&packet, ctx->protocol, &flow))
		remember(&flow, &packet);
	else
		add(&totals, OTHER, packet.packets, packet.bytes);
	return TC_ACT_UNSPEC; // TCX_NEXT, which older headers do not have
}

SEC("tcx/ingress")
int flows_ingress(struct __sk_buff *ctx)
{
	return observe(ctx, INGRESS);
}

SEC("tcx/egress")
int flows_egress(struct __sk_buff *ctx)
{
	return observe(ctx, EGRESS);
}

// The kernel frees packets that it has processed by consume_skb: this tracepoint sees drops only.
SEC("tp_btf/kfree_skb")
int BPF_PROG(flows_dropped, struct sk_buff *skb, void *location, __u32 reason)
{
	struct packet packet = { .header = skb->head + skb->network_header, .packets = 1, .bytes = skb->len };
	struct drop drop = { .flow = { .direction = DROPPED, .interface = skb->skb_iif }, .reason = reason };
	struct record *record, first;

	add(&totals, DROPPED, 1, packet.bytes);
	add_one(&reasons, reason < REASONS - 1 ? reason : REASONS - 1);
	if (!parse(&packet, skb->protocol, &drop.flow))
		return 0;
	record = bpf_map_lookup_elem(&drops, &drop);
	if (record) {
		grow(record, &packet);
		__sync_fetch_and_or(&record->flags, packet.flags);
		return 0;
	}
	first = first_record(&packet);
	if (!bpf_map_update_elem(&drops, &drop, &first, BPF_NOEXIST)) {
		tell(DROP, &drop.flow, &first, reason);
		return 0;
	}
	record = bpf_map_lookup_elem(&drops, &drop);
	if (record)
		grow(record, &packet);
	else
		add(&totals, UNSTORED, 1, packet.bytes);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
