// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Lets only allowed packets leave a cgroup, or pass an interface: to prefixes in the rules, and to addresses of DNS
// names in the rules. All others are reported, and dropped in the mode `enforce`.
//
// Names are learned from answers that pass. `egress_guard_out` records each query to an allowed resolver;
// `egress_guard_in` learns the addresses of an answer for the time of its TTL, if the same socket has sent exactly
// that query to that resolver. No packet is dropped on the way in.
//
// `egress_guard_tc_out` and `egress_guard_tc_in` do the same at an interface with Ethernet frames. Many packets there have
// no socket: addresses and ports identify queries and connections.
//
// Its maps, and the replacement of rules: egress_guard.h.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "dns.h"
#include "egress_guard.h"

#define IP_OFFSET 0x1fff
#define SECOND 1000000000ULL

// From <sys/socket.h> and <netinet/tcp.h>, which are not for programs of the kernel.
#define SOCK_STREAM 1
#define TCP_LISTEN 10

// Timeout of a query, in seconds.
#define PATIENCE 30

struct packet {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port; // 0 if it cannot be read
	__u8 protocol;
	__u8 version;
	__u16 payload; // its offset, behind the UDP header; 0 if the ports cannot be read
	bool framed; // seen at an interface
	__u32 class; // the class that allows the packet, if rules were looked up
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

// Returns false if the packet may go to another destination than its header names. A process can set such headers.
// The kernel's own packets have none, and are fragmented only after a cgroup's hook. Packets to link-local groups
// (224.0.0.0/24, ff02::/16) stay on the link, whatever their header: reports of multicast listeners have options.
// `type` is an Ethernet type, `at` the offset of its header.
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet, __be16 type, __u32 at)
{
	void *data = (void *)(long)skb->data + at, *end = (void *)(long)skb->data_end;

	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;

		if ((void *)(ip + 1) > end)
			return false;
		packet->version = 4;
		packet->protocol = ip->protocol;
		map_v4(&packet->source, ip->saddr);
		map_v4(&packet->destination, ip->daddr);
		if (ip->ihl != 5)
			return (ip->daddr & bpf_htonl(0xffffff00)) == bpf_htonl(0xe0000000);
		if (!(ip->frag_off & bpf_htons(IP_OFFSET)))
			read_ports(skb, packet, at + sizeof(*ip));
		return true;
	}
	if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = data;

		if ((void *)(ip6 + 1) > end)
			return false;
		packet->version = 6;
		packet->protocol = ip6->nexthdr;
		__builtin_memcpy(&packet->source, &ip6->saddr, sizeof(packet->source));
		__builtin_memcpy(&packet->destination, &ip6->daddr, sizeof(packet->destination));
		if (packet->protocol == IPPROTO_HOPOPTS && ip6->daddr.s6_addr16[0] == bpf_htons(0xff02)) {
			struct ipv6_opt_hdr *options = (void *)(ip6 + 1);

			if ((void *)(options + 1) > end)
				return false;
			packet->protocol = options->nexthdr;
			return packet->protocol == IPPROTO_ICMPV6;
		}
		if (packet->protocol == IPPROTO_HOPOPTS || packet->protocol == IPPROTO_ROUTING ||
		    packet->protocol == IPPROTO_FRAGMENT || packet->protocol == IPPROTO_DSTOPTS ||
		    packet->protocol == IPPROTO_MH)
			return false;
		read_ports(skb, packet, at + sizeof(*ip6));
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
	event->interface = packet->framed ? skb->ifindex : 0;
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

static __always_inline void tell_asker(struct __sk_buff *skb, struct query *query, const struct packet *packet,
				       const struct address *own)
{
	__u64 cookie;

	if (packet->framed) {
		query->asker = *own;
		return;
	}
	cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(&query->asker, &cookie, sizeof(cookie));
}

// Returns the id of a plain query for one name, or a negative number.
static __always_inline int read_query(struct __sk_buff *skb, const struct packet *packet)
{
	struct dns_header dns;

	if (bpf_skb_load_bytes(skb, packet->payload, &dns, sizeof(dns)) ||
	    (dns.flags & bpf_htons(DNS_RESPONSE | DNS_OPCODE)) || dns.questions != bpf_htons(1) || dns.answers ||
	    dns.authorities || bpf_ntohs(dns.additional) > 1)
		return -1;
	return dns.id;
}

// A query may leave if a rule allows queries for its name. A message with more in it may not.
static __noinline int judge_query(struct __sk_buff *skb, struct packet *packet, __u32 generation)
{
	struct dns_name_reader reader;
	struct query query = {};
	struct asked asked;
	__u32 *name;
	int id;

	if (!packet)
		return 0;
	id = read_query(skb, packet);
	if (id < 0)
		return refuse(skb, packet, QUERY, NULL);
	if (!dns_read_name(&reader, skb, packet->payload + sizeof(struct dns_header)))
		return refuse(skb, packet, QUERY, NULL);
	reader.name.generation = generation;
	reader.name.length = 8 * sizeof(reader.name.generation) + 8 * (reader.characters + 1);
	name = bpf_map_lookup_elem(&names, &reader.name);
	if (!name)
		return refuse(skb, packet, NAME, &reader.name);
	tell_asker(skb, &query, packet, &packet->source);
	query.id = id;
	query.resolver = packet->destination;
	query.port = packet->source_port;
	asked = (struct asked){ .hash = reader.hash, .name = *name, .second = second_now() };
	bpf_map_update_elem(&queries, &query, &asked, BPF_ANY);
	count(ASKED);
	return 1;
}

// Returns the class that allows packets to a learned address, or 0. Sets `known` if the address was learned.
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

// Returns the storage of a socket that can send to one address only, until it is closed.
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

// Returns 1 if a packet may leave, and 0 if not. `before`: the destination that its connection was allowed earlier.
static __always_inline int judge(struct __sk_buff *skb, struct packet *packet, __u32 generation, struct passed *before)
{
	__u32 class = 0, *found;
	struct prefix prefix;
	bool known = false;

	if (before && before->class && before->port == packet->destination_port &&
	    same(&before->address, &packet->destination)) {
		if (before->generation == generation)
			goto pass;
		// The rules have changed. The address may be unknown by now, but the name keeps its number.
		if ((before->class & NAME_CLASS) && allows(generation, before->class, packet)) {
			before->generation = generation;
			goto pass;
		}
	}
	if (packet->protocol == IPPROTO_UDP && packet->destination_port == DNS_PORT) {
		struct resolver resolver = { .generation = generation, .address = packet->destination };

		if (bpf_map_lookup_elem(&resolvers, &resolver))
			return judge_query(skb, packet, generation);
	}
	prefix.generation = generation;
	prefix.family = packet->version;
	prefix.length = 8 * (sizeof(prefix) - sizeof(prefix.length));
	prefix.address = packet->destination;
	found = bpf_map_lookup_elem(&prefixes, &prefix);
	if (found) {
		known = true;
		if (allows(generation, *found, packet))
			class = *found;
	}
	if (!class)
		class = class_by_name(packet, generation, &known);
	if (!class)
		return refuse(skb, packet, known ? PORT : DESTINATION, NULL);
	packet->class = class;
	if (before) {
		before->address = packet->destination;
		before->port = packet->destination_port;
		before->generation = generation;
		before->class = class;
	}
pass:
	count(PASSED);
	return 1;
}

SEC("cgroup_skb/egress")
int egress_guard_out(struct __sk_buff *skb)
{
	__u32 generation = generation_now();
	struct packet packet = {};
	struct passed *before = NULL;

	if (!generation)
		return 1;
	if (!read_packet(skb, &packet, skb->protocol, 0))
		return refuse(skb, &packet, HEADER, NULL);
	if (packet.protocol == IPPROTO_TCP)
		before = passed_of(skb);
	return judge(skb, &packet, generation, before);
}

// Returns the type of a frame, or 0 if it is cut short. A sender of raw frames can choose `skb->protocol`.
static __always_inline __be16 read_frame(struct __sk_buff *skb)
{
	__u32 headers = ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct ipv6_opt_hdr);
	struct ethhdr *frame;

	if (headers > skb->len)
		headers = skb->len;
	if ((void *)(long)skb->data + headers > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, headers);
	frame = (void *)(long)skb->data;
	return (void *)(frame + 1) > (void *)(long)skb->data_end ? 0 : frame->h_proto;
}

// Returns whether a TCP segment begins a connection, or may begin one because it cannot be read.
static __always_inline bool begins(struct __sk_buff *skb, const struct packet *packet)
{
	struct tcphdr tcp;

	return !packet->payload || bpf_skb_load_bytes(skb, packet->payload - sizeof(struct udphdr), &tcp, sizeof(tcp)) ||
	       (tcp.syn && !tcp.ack);
}

static __always_inline struct connection connection_of(const struct packet *packet)
{
	return (struct connection){ .source = packet->source, .destination = packet->destination,
				    .source_port = packet->source_port,
				    .destination_port = packet->destination_port };
}

static __always_inline struct passed *passed_before(const struct packet *packet)
{
	struct connection connection = connection_of(packet);

	return bpf_map_lookup_elem(&connections, &connection);
}

// A separate function, which has stack of its own.
static __noinline int note_connection(const struct packet *packet, __u32 generation)
{
	struct connection connection;
	struct passed now;

	if (!packet)
		return 0;
	connection = connection_of(packet);
	now = (struct passed){ .address = packet->destination, .generation = generation, .class = packet->class,
			       .port = packet->destination_port };
	bpf_map_update_elem(&connections, &connection, &now, BPF_ANY);
	return 0;
}

SEC("tc")
int egress_guard_tc_out(struct __sk_buff *skb)
{
	__u32 generation = generation_now();
	struct packet packet = { .framed = true };
	struct passed *before = NULL;
	__be16 type;

	if (!generation)
		return TC_ACT_UNSPEC;
	type = read_frame(skb);
	if (type == bpf_htons(ETH_P_ARP)) // it is for the link alone
		return TC_ACT_UNSPEC;
	if (!read_packet(skb, &packet, type, ETH_HLEN))
		return refuse(skb, &packet, HEADER, NULL) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
	// A connection that begins again is judged again.
	if (packet.protocol == IPPROTO_TCP && !begins(skb, &packet))
		before = passed_before(&packet);
	if (!judge(skb, &packet, generation, before))
		return TC_ACT_SHOT;
	if (packet.protocol == IPPROTO_TCP && packet.class && packet.payload && !before)
		note_connection(&packet, generation);
	return TC_ACT_UNSPEC;
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

// Reads an answer's records in steps: a label of the owner's name, or the part of the record behind the name.
struct records {
	struct __sk_buff *skb;
	__u32 at;
	__u32 left;
	__u32 in_name;
	__u32 name;
	__u32 now;
	__u32 ttl; // the minimum of the CNAMEs so far
	struct bounds bounds;
};

// Up to 32 records with compressed names; fewer with others.
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

static __always_inline bool read_header(struct __sk_buff *skb, const struct packet *packet, struct dns_header *dns)
{
	return !bpf_skb_load_bytes(skb, packet->payload, dns, sizeof(*dns));
}

static __always_inline bool is_answer(const struct dns_header *dns)
{
	return (dns->flags & bpf_htons(DNS_RESPONSE | DNS_OPCODE)) == bpf_htons(DNS_RESPONSE) &&
	       dns->questions == bpf_htons(1);
}

// Returns the name of an answer, and in the high half the offset of its records; 0 if it is not trusted. A function
// of its own, for its variables: callers and callees share 512 bytes, and Linux 6.1 rounds each frame up to 32.
static __noinline __u64 believe(struct __sk_buff *skb, struct packet *packet)
{
	struct dns_name_reader reader;
	struct query query = {};
	struct dns_header dns;
	struct asked *asked;
	__u64 found;

	if (!packet || !read_header(skb, packet, &dns))
		return 0;
	tell_asker(skb, &query, packet, &packet->destination);
	query.id = dns.id;
	query.resolver = packet->source;
	query.port = packet->destination_port;
	asked = bpf_map_lookup_elem(&queries, &query);
	if (!asked || second_now() - asked->second > PATIENCE || !is_answer(&dns) ||
	    !dns_read_name(&reader, skb, packet->payload + sizeof(dns)) || reader.hash != asked->hash) {
		count(UNASKED);
		return 0;
	}
	found = (__u64)(reader.at + 1 + 4) << 32 | asked->name; // behind the question's type and class
	bpf_map_delete_elem(&queries, &query); // it has its answer
	return found;
}

// A resolver answers with the whole chain of CNAMEs, and with no other records: all addresses in the answer
// belong to the name.
static __always_inline void read_answer(struct __sk_buff *skb, struct packet *packet, __u32 generation)
{
	struct records records = { .skb = skb, .ttl = ~0U, .in_name = 1 };
	__u64 believed = believe(skb, packet);
	__u32 which = generation & 1;
	struct bounds *limits;
	struct dns_header dns;

	if (!believed || !read_header(skb, packet, &dns) || !dns.answers || (dns.flags & bpf_htons(DNS_RCODE)))
		return;
	limits = bpf_map_lookup_elem(&bounds, &which);
	if (!limits)
		return;
	records.bounds = *limits;
	records.name = (__u32)believed;
	records.now = second_now();
	records.left = bpf_ntohs(dns.answers);
	records.at = believed >> 32;
	bpf_loop(STEPS, read_record, &records, 0);
}

static __always_inline void hear(struct __sk_buff *skb, struct packet *packet, __u32 generation)
{
	struct resolver resolver = { .generation = generation, .address = packet->source };

	if (packet->protocol == IPPROTO_UDP && packet->source_port == DNS_PORT && bpf_map_lookup_elem(&resolvers, &resolver))
		read_answer(skb, packet, generation);
}

SEC("cgroup_skb/ingress")
int egress_guard_in(struct __sk_buff *skb)
{
	__u32 generation = generation_now();
	struct packet packet = {};

	if (generation && read_packet(skb, &packet, skb->protocol, 0))
		hear(skb, &packet, generation);
	return 1;
}

SEC("tc")
int egress_guard_tc_in(struct __sk_buff *skb)
{
	__u32 generation = generation_now();
	struct packet packet = { .framed = true };

	if (generation && read_packet(skb, &packet, read_frame(skb), ETH_HLEN))
		hear(skb, &packet, generation);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
