// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Lets leave a cgroup, or pass an interface, what rules allow: packets to prefixes, and to addresses that allowed
// DNS names have. Everything else is reported, and dropped if the mode says so.
//
// Names are learnt from answers that pass. `egress_guard_out` sees a query to an allowed resolver and notes it;
// `egress_guard_in` sees an answer and learns its addresses for as long as its TTL says, if the same socket has asked just
// that of that resolver. Nothing is dropped on the way in.
//
// `egress_guard_tc_out` and `egress_guard_tc_in` do the same at an interface with Ethernet frames. Many packets there have
// no socket: who asks and who is connected is told by addresses and ports.
//
// What it keeps, and how rules are replaced: egress_guard.h.
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
	__u16 payload; // where it begins, behind UDP's header; 0 where there are no ports to be seen
	bool framed; // seen at an interface
	__u32 class; // by which it may be sent now, if rules were asked
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
// itself has none, and is cut into fragments only behind a cgroup. What is for groups of the link (224.0.0.0/24,
// ff02::/16) leaves it by no header: reports of multicast listeners have some. `type` is an Ethernet type, `at` where its
// header begins.
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

// The number of a plain query for one name; negative if it is none.
static __always_inline int read_query(struct __sk_buff *skb, const struct packet *packet)
{
	struct dns_header dns;

	if (bpf_skb_load_bytes(skb, packet->payload, &dns, sizeof(dns)) ||
	    (dns.flags & bpf_htons(DNS_RESPONSE | DNS_OPCODE)) || dns.questions != bpf_htons(1) || dns.answers ||
	    dns.authorities || bpf_ntohs(dns.additional) > 1)
		return -1;
	return dns.id;
}

// A query may leave if a rule allows to ask for its name. What else could be in such a message does not.
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

// 1 if a packet may leave, and 0 if it may not. `before`: what its connection was let through to.
static __always_inline int judge(struct __sk_buff *skb, struct packet *packet, __u32 generation, struct passed *before)
{
	__u32 class = 0, *found;
	struct prefix prefix;
	bool known = false;

	if (before && before->class && before->port == packet->destination_port &&
	    same(&before->address, &packet->destination)) {
		if (before->generation == generation)
			goto pass;
		// Rules have changed. The address may not be known any more; the name's number is.
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

// The type of a frame; 0 if it is cut short. The kernel's own word for it is what a process said that sends frames itself.
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

// True for a TCP segment that begins a connection, or that may do so for all that is known.
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

// A function of its own, for its variables.
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
	// Who begins again is judged again.
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

static __always_inline bool read_header(struct __sk_buff *skb, const struct packet *packet, struct dns_header *dns)
{
	return !bpf_skb_load_bytes(skb, packet->payload, dns, sizeof(*dns));
}

static __always_inline bool is_answer(const struct dns_header *dns)
{
	return (dns->flags & bpf_htons(DNS_RESPONSE | DNS_OPCODE)) == bpf_htons(DNS_RESPONSE) &&
	       dns->questions == bpf_htons(1);
}

// The name that an answer is about, and in the high half where its records begin; 0 if it is not believed. A function of
// its own, for its variables: callers and what they call have 512 bytes, and Linux 6.1 rounds each up to 32.
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

// A resolver answers with the whole chain of CNAMEs, and with nothing that does not belong to it: all addresses of the
// answer are the name's.
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
