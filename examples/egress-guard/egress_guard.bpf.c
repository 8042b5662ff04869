// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Lets leave a control group what its rules allow: packets to prefixes, and to addresses that allowed DNS names have.
// Everything else is reported, and dropped if the mode says so.
//
// Names are learnt from answers that pass. `egress_guard_out` sees a query to an allowed resolver and notes it;
// `egress_guard_in` sees an answer and learns its addresses for as long as its TTL says, if the same socket has asked just
// that of that resolver. Nothing is dropped on the way in.
//
// What it keeps, and how rules are replaced: egress_guard.h.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "dns.h"
#include "egress_guard.h"

#define IP_OFFSET 0x1fff
#define SECOND 1000000000ULL

// What <sys/socket.h> and <netinet/tcp.h> say; they are not for programs of the kernel.
#define SOCK_STREAM 1
#define TCP_LISTEN 10

// Seconds in which a query has to be answered.
#define PATIENCE 30

struct packet {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port; // 0 where there is none to be seen
	__u8 protocol;
	__u8 version;
	__u16 payload; // where it begins, behind UDP's header
};

static __always_inline void count(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&stats, &what);

	if (counter) // this CPU's own; a task on it may be interrupted
		__sync_fetch_and_add(counter, 1);
}

static __always_inline __u32 generation_now(void)
{
	__u32 key = 0;
	__u64 *now = bpf_map_lookup_elem(&active, &key);

	return now ? (__u32)*(volatile __u64 *)now : 0;
}

static __always_inline __u32 second_now(void)
{
	return bpf_ktime_get_boot_ns() / SECOND;
}

static __always_inline void map_v4(struct address *address, __be32 v4)
{
	address->word[0] = 0;
	address->word[1] = 0;
	address->word[2] = bpf_htonl(0xffff);
	address->word[3] = v4;
}

static __always_inline bool same(const struct address *one, const struct address *other)
{
	return one->word[3] == other->word[3] && one->word[2] == other->word[2] && one->word[1] == other->word[1] &&
	       one->word[0] == other->word[0];
}

// TCP, UDP, SCTP and UDP-Lite begin with the same two ports.
static __always_inline void read_ports(struct __sk_buff *skb, struct packet *packet, __u32 at)
{
	__be16 both[2];

	if (packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP && packet->protocol != IPPROTO_SCTP &&
	    packet->protocol != IPPROTO_UDPLITE)
		return;
	if (bpf_skb_load_bytes(skb, at, both, sizeof(both)))
		return;
	packet->source_port = bpf_ntohs(both[0]);
	packet->destination_port = bpf_ntohs(both[1]);
	packet->payload = at + sizeof(struct udphdr);
}

// False if the packet may go elsewhere than its header says. A process can ask for such headers; what its kernel sends by
// itself has none, and is not cut into fragments yet.
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;

		if ((void *)(ip + 1) > end)
			return false;
		packet->version = 4;
		packet->protocol = ip->protocol;
		map_v4(&packet->source, ip->saddr);
		map_v4(&packet->destination, ip->daddr);
		if (ip->ihl != 5)
			return false;
		if (!(ip->frag_off & bpf_htons(IP_OFFSET)))
			read_ports(skb, packet, sizeof(*ip));
		return true;
	}
	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = data;

		if ((void *)(ip6 + 1) > end)
			return false;
		packet->version = 6;
		packet->protocol = ip6->nexthdr;
		__builtin_memcpy(&packet->source, &ip6->saddr, sizeof(packet->source));
		__builtin_memcpy(&packet->destination, &ip6->daddr, sizeof(packet->destination));
		if (packet->protocol == IPPROTO_HOPOPTS || packet->protocol == IPPROTO_ROUTING ||
		    packet->protocol == IPPROTO_FRAGMENT || packet->protocol == IPPROTO_DSTOPTS ||
		    packet->protocol == IPPROTO_MH)
			return false;
		read_ports(skb, packet, sizeof(*ip6));
		return true;
	}
	return false;
}

static __always_inline int refuse(struct __sk_buff *skb, struct packet *packet, enum reason reason,
				  struct dns_name *name)
{
	__u32 key = 0, *now = bpf_map_lookup_elem(&mode, &key);
	bool drop = now && *now == ENFORCE;
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	count(drop ? DROPPED : REFUSED_SHADOW);
	if (!event) {
		__u64 *counter = bpf_map_lookup_elem(&lost, &key);

		if (counter)
			__sync_fetch_and_add(counter, 1);
		return !drop;
	}
	event->group = bpf_skb_cgroup_id(skb);
	event->source = packet->source;
	event->destination = packet->destination;
	event->source_port = packet->source_port;
	event->destination_port = packet->destination_port;
	event->protocol = packet->protocol;
	event->reason = reason;
	event->dropped = drop;
	event->version = packet->version;
	event->bytes = skb->len;
	event->unused = 0;
	if (name)
		__builtin_memcpy(event->reversed, name->reversed, sizeof(event->reversed));
	else // reserved memory holds whatever the last event there left
		__builtin_memset(event->reversed, 0, sizeof(event->reversed));
	bpf_ringbuf_submit(event, 0);
	return !drop;
}

static __always_inline bool allows(__u32 generation, __u32 class, struct packet *packet)
{
	struct port key = { .generation = generation, .class = class, .protocol = ANY_PROTOCOL };

	if (bpf_map_lookup_elem(&ports, &key))
		return true;
	key.protocol = packet->protocol;
	if (bpf_map_lookup_elem(&ports, &key))
		return true;
	key.port = packet->destination_port;
	return key.port && bpf_map_lookup_elem(&ports, &key);
}

// A query may leave if a rule allows to ask for its name. What else could be in such a message does not.
static __noinline int judge_query(struct __sk_buff *skb, struct packet *packet, __u32 generation)
{
	struct dns_name_reader reader;
	struct dns_header dns;
	struct query query = {};
	struct asked asked = {};
	__u32 *name;

	if (!packet)
		return 0;
	if (bpf_skb_load_bytes(skb, packet->payload, &dns, sizeof(dns)) ||
	    (dns.flags & bpf_htons(DNS_RESPONSE | DNS_OPCODE)) || dns.questions != bpf_htons(1) || dns.answers ||
	    dns.authorities || bpf_ntohs(dns.additional) > 1)
		return refuse(skb, packet, QUERY, NULL);
	if (!dns_read_name(&reader, skb, packet->payload + sizeof(dns)))
		return refuse(skb, packet, QUERY, NULL);
	reader.name.generation = generation;
	reader.name.length = 8 * sizeof(reader.name.generation) + 8 * (reader.characters + 1);
	name = bpf_map_lookup_elem(&names, &reader.name);
	if (!name)
		return refuse(skb, packet, NAME, &reader.name);
	query.socket = bpf_get_socket_cookie(skb);
	query.id = dns.id;
	query.resolver = packet->destination;
	query.port = packet->source_port;
	asked.hash = reader.hash;
	asked.name = *name;
	asked.second = second_now();
	bpf_map_update_elem(&queries, &query, &asked, BPF_ANY);
	count(ASKED);
	return 1;
}

// The class by which an address that was learnt may be sent to. `known`: whether it was learnt at all.
static __always_inline __u32 class_by_name(struct packet *packet, __u32 generation, bool *known)
{
	struct learnt *found = bpf_map_lookup_elem(&learnt, &packet->destination);
	__u32 now;

	if (!found)
		return 0;
	now = second_now();
	for (int i = 0; i < NAMES_OF_ADDRESS; i++) {
		__u64 slot = *(volatile __u64 *)&found->slots[i];

		if (slot >> 32 <= now)
			continue;
		*known = true;
		if (allows(generation, (__u32)slot, packet))
			return (__u32)slot;
	}
	return 0;
}

// A socket that can send to one address only, until it is closed.
static __always_inline struct passed *passed_of(struct __sk_buff *skb)
{
	struct bpf_sock *socket = skb->sk;

	if (!socket)
		return NULL;
	socket = bpf_sk_fullsock(socket);
	if (!socket || socket->type != SOCK_STREAM || socket->protocol != IPPROTO_TCP || socket->state == TCP_LISTEN)
		return NULL;
	return bpf_sk_storage_get(&passed, socket, NULL, BPF_SK_STORAGE_GET_F_CREATE);
}

SEC("cgroup_skb/egress")
int egress_guard_out(struct __sk_buff *skb)
{
	__u32 generation = generation_now(), class = 0, *found;
	struct packet packet = {};
	struct passed *before = NULL;
	struct prefix prefix;
	bool known = false;

	if (!generation)
		return 1;
	if (!read_packet(skb, &packet))
		return refuse(skb, &packet, HEADER, NULL);
	if (packet.protocol == IPPROTO_TCP) {
		before = passed_of(skb);
		if (before && before->class && before->port == packet.destination_port &&
		    same(&before->address, &packet.destination)) {
			if (before->generation == generation)
				goto pass;
			// Rules have changed. The address may not be known any more; the name's number is.
			if ((before->class & NAME_CLASS) && allows(generation, before->class, &packet)) {
				before->generation = generation;
				goto pass;
			}
		}
	}
	if (packet.protocol == IPPROTO_UDP && packet.destination_port == DNS_PORT) {
		struct resolver resolver = { .generation = generation, .address = packet.destination };

		if (bpf_map_lookup_elem(&resolvers, &resolver))
			return judge_query(skb, &packet, generation);
	}
	prefix.generation = generation;
	prefix.family = packet.version;
	prefix.length = 8 * (sizeof(prefix) - sizeof(prefix.length));
	prefix.address = packet.destination;
	found = bpf_map_lookup_elem(&prefixes, &prefix);
	if (found) {
		known = true;
		if (allows(generation, *found, &packet))
			class = *found;
	}
	if (!class)
		class = class_by_name(&packet, generation, &known);
	if (!class)
		return refuse(skb, &packet, known ? PORT : DESTINATION, NULL);
	if (before) {
		before->address = packet.destination;
		before->port = packet.destination_port;
		before->generation = generation;
		before->class = class;
	}
pass:
	count(PASSED);
	return 1;
}

static __always_inline void learn(const struct address *address, __u32 name, __u32 now, __u32 until)
{
	struct learnt *found = bpf_map_lookup_elem(&learnt, address);
	__u32 place = 0, soonest = ~0U;

	if (!found) {
		struct learnt none = {};

		bpf_map_update_elem(&learnt, address, &none, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&learnt, address);
		if (!found)
			return;
	}
	for (__u32 i = 0; i < NAMES_OF_ADDRESS; i++) {
		__u32 ends = found->slots[i] >> 32;

		if ((__u32)found->slots[i] == name) {
			place = i;
			if (ends > until)
				until = ends;
			break;
		}
		if (ends < soonest) { // an empty one, one that is over, or the next to be over
			soonest = ends;
			place = i;
		}
	}
	if (place < NAMES_OF_ADDRESS)
		*(volatile __u64 *)&found->slots[place] = (__u64)until << 32 | name;
	count(LEARNT);
}

// An answer's records, read in steps: a label of the owner's name, or what is behind that.
struct records {
	struct __sk_buff *skb;
	__u32 at;
	__u32 left;
	__u32 in_name;
	__u32 name;
	__u32 now;
	__u32 ttl; // the least of the CNAMEs so far
	struct bounds bounds;
};

// Up to 32 records whose names are compressed; fewer if they are not.
#define STEPS 256
#define COMPRESSED 0xc0

struct record {
	__be16 type;
	__be16 class;
	__be32 ttl;
	__be16 length;
} __attribute__((packed));

static long read_record(__u32 index, void *data)
{
	struct records *records = data;
	struct address address;
	struct record record;
	__u32 ttl;

	if (records->in_name) {
		__u8 length = 0;

		if (bpf_skb_load_bytes(records->skb, records->at, &length, 1))
			return 1;
		records->in_name = length && length < COMPRESSED;
		records->at += length >= COMPRESSED ? 2 : 1 + length;
		return 0;
	}
	if (bpf_skb_load_bytes(records->skb, records->at, &record, sizeof(record)))
		return 1;
	records->at += sizeof(record);
	ttl = bpf_ntohl(record.ttl);
	if (ttl > 0x7fffffff) // RFC 2181, 8
		ttl = 0;
	if (record.class == bpf_htons(DNS_IN)) {
		if (ttl > records->ttl)
			ttl = records->ttl;
		if (record.type == bpf_htons(DNS_CNAME))
			records->ttl = ttl;
		if (ttl < records->bounds.least)
			ttl = records->bounds.least;
		if (ttl > records->bounds.most)
			ttl = records->bounds.most;
		if (record.type == bpf_htons(DNS_A) && record.length == bpf_htons(4)) {
			__be32 v4 = 0;

			if (bpf_skb_load_bytes(records->skb, records->at, &v4, sizeof(v4)))
				return 1;
			map_v4(&address, v4);
			learn(&address, records->name, records->now, records->now + ttl);
		} else if (record.type == bpf_htons(DNS_AAAA) && record.length == bpf_htons(16)) {
			if (bpf_skb_load_bytes(records->skb, records->at, &address, sizeof(address)))
				return 1;
			learn(&address, records->name, records->now, records->now + ttl);
		}
	}
	records->at += bpf_ntohs(record.length);
	records->in_name = 1;
	return --records->left == 0;
}

// A resolver answers with the whole chain of CNAMEs, and with nothing that does not belong to it: all addresses of the
// answer are the name's.
static __noinline int read_answer(struct __sk_buff *skb, struct packet *packet, __u32 generation)
{
	struct records records = { .skb = skb, .ttl = ~0U, .in_name = 1 };
	struct dns_name_reader reader;
	struct query query = {};
	struct bounds *limits;
	struct dns_header dns;
	struct asked *asked;
	__u32 which = generation & 1;

	if (!packet)
		return 0;
	if (bpf_skb_load_bytes(skb, packet->payload, &dns, sizeof(dns)))
		return 0;
	query.socket = bpf_get_socket_cookie(skb);
	query.id = dns.id;
	query.resolver = packet->source;
	query.port = packet->destination_port;
	asked = bpf_map_lookup_elem(&queries, &query);
	records.now = second_now();
	if (!asked || records.now - asked->second > PATIENCE || !(dns.flags & bpf_htons(DNS_RESPONSE)) ||
	    (dns.flags & bpf_htons(DNS_OPCODE)) || dns.questions != bpf_htons(1) ||
	    !dns_read_name(&reader, skb, packet->payload + sizeof(dns)) || reader.hash != asked->hash) {
		count(UNASKED);
		return 0;
	}
	records.name = asked->name;
	bpf_map_delete_elem(&queries, &query); // it has its answer
	limits = bpf_map_lookup_elem(&bounds, &which);
	if (!limits || !dns.answers || (dns.flags & bpf_htons(DNS_RCODE)))
		return 0;
	records.bounds = *limits;
	records.left = bpf_ntohs(dns.answers);
	records.at = reader.at + 1 + 4; // behind the question's type and class
	bpf_loop(STEPS, read_record, &records, 0);
	return 0;
}

SEC("cgroup_skb/ingress")
int egress_guard_in(struct __sk_buff *skb)
{
	__u32 generation = generation_now();
	struct packet packet = {};
	struct resolver resolver = {};

	if (!generation || !read_packet(skb, &packet) || packet.protocol != IPPROTO_UDP ||
	    packet.source_port != DNS_PORT)
		return 1;
	resolver.generation = generation;
	resolver.address = packet.source;
	if (bpf_map_lookup_elem(&resolvers, &resolver))
		read_answer(skb, &packet, generation);
	return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
