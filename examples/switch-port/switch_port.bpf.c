// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// A stateful filter at the ports of a bridge. `switch_port_out` sees frames from a port, which must have the port's
// own MAC and IP addresses. `switch_port_in` sees frames that the bridge sends to a port. In both directions,
// frames of existing connections pass, and the port's rules decide which connections may begin.
//
// At the interface of the bridge, frames from the port are ingress, and frames to it are egress.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "switch_port.h"

#define IP_OFFSET 0x1fff
#define IP6_OFFSET 0xfff8
// More extension headers than hosts send.
#define MAX_EXTENSIONS 8
#define SECOND 1000000000ULL
#define DHCP_SERVER 67
#define DHCP_CLIENT 68

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

// RFC 792, 4443 and 4861: <linux/icmp.h> needs the headers of a C library.
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
#define ND_ROUTER_SOLICITATION 133
#define ND_ROUTER_ADVERTISEMENT 134
#define ND_NEIGHBOUR_SOLICITATION 135
#define ND_NEIGHBOUR_ADVERTISEMENT 136

struct arp {
	__be16 hardware, protocol;
	__u8 hardware_length, protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender;
	__u8 target_mac[6];
	__be32 target;
} __attribute__((packed));

struct icmp {
	__u8 type, code;
	__be16 checksum;
	__be16 number; // identifier of an echo
	__be16 sequence;
};

// Common beginning of IPv6 extension headers.
struct extension {
	__u8 next;
	__u8 length; // in units of eight bytes, without the first
	__be16 offset; // of a fragment
};

struct packet {
	struct address source, destination;
	__u32 at; // the header behind that of IP, and behind its extensions
	__u16 source_port, destination_port;
	__u16 version;
	__u8 protocol;
	__u8 tcp_flags;
	__u8 icmp_type;
	bool fragment; // IPv6 only
	bool later_fragment;
};

static __always_inline int finish(__u32 port, __u32 outcome, __u32 bytes, int verdict)
{
	struct counts *counts = bpf_map_lookup_elem(&stats, &port);

	if (counts && outcome < OUTCOMES) { // this CPU's own, so no atomics
		counts->frames[outcome]++;
		counts->bytes[outcome] += bytes;
	}
	return verdict;
}

static __always_inline void map_v4(struct address *address, __be32 v4)
{
	address->word[0] = 0;
	address->word[1] = 0;
	address->word[2] = bpf_htonl(0xffff);
	address->word[3] = v4;
}

static __always_inline bool is_icmp(const struct packet *packet)
{
	return packet->protocol == (packet->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static __always_inline bool is_echo_request(const struct packet *packet)
{
	return packet->icmp_type == (packet->version == 4 ? ICMP_ECHO : ICMPV6_ECHO_REQUEST);
}

static __always_inline bool is_echo(const struct packet *packet)
{
	return is_echo_request(packet) ||
	       packet->icmp_type == (packet->version == 4 ? ICMP_ECHOREPLY : ICMPV6_ECHO_REPLY);
}

// An ICMP error contains the beginning of the packet that caused it.
static __always_inline bool is_icmp_error(const struct packet *packet)
{
	if (packet->version == 6)
		return packet->icmp_type < ICMPV6_ECHO_REQUEST;
	return packet->icmp_type == ICMP_DEST_UNREACH || packet->icmp_type == ICMP_TIME_EXCEEDED ||
	       packet->icmp_type == ICMP_PARAMETERPROB;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_DSTOPTS;
}

// Skips extension headers, which any host may put before the header that rules and checks are about. Returns false
// if there are too many. Packets of IPsec (AH, ESP) are not opened: only hosts that share a key accept them.
static __always_inline bool look_behind_extensions(struct __sk_buff *skb, struct packet *packet)
{
	struct extension header;

	for (int number = 0; number < MAX_EXTENSIONS; number++) {
		bool fragment = packet->protocol == IPPROTO_FRAGMENT;

		if (!is_extension(packet->protocol))
			return true;
		if (bpf_skb_load_bytes(skb, packet->at, &header, sizeof(header)))
			return false;
		packet->protocol = header.next;
		packet->at += fragment ? 8 : 8 * (1 + header.length);
		packet->fragment |= fragment;
		// The rest of the packet is the middle of another header or of data.
		if (fragment && (header.offset & bpf_htons(IP6_OFFSET))) {
			packet->later_fragment = true;
			return true;
		}
	}
	return !is_extension(packet->protocol);
}

// Reads IP, and ports or their equivalents. Returns false if the packet is cut short, or if they are not found.
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet, __u32 at, __u16 version)
{
	__be16 ports[2];
	struct icmp icmp;

	packet->version = version;
	if (version == 4) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)) || ip.ihl < 5)
			return false;
		map_v4(&packet->source, ip.saddr);
		map_v4(&packet->destination, ip.daddr);
		packet->protocol = ip.protocol;
		packet->later_fragment = ip.frag_off & bpf_htons(IP_OFFSET);
		packet->at = at + ip.ihl * 4;
	} else {
		struct ipv6hdr ip6;

		if (bpf_skb_load_bytes(skb, at, &ip6, sizeof(ip6)))
			return false;
		__builtin_memcpy(&packet->source, &ip6.saddr, sizeof(packet->source));
		__builtin_memcpy(&packet->destination, &ip6.daddr, sizeof(packet->destination));
		packet->protocol = ip6.nexthdr;
		packet->at = at + sizeof(ip6);
		if (!look_behind_extensions(skb, packet))
			return false;
	}
	if (packet->later_fragment)
		return true;
	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP) {
		if (bpf_skb_load_bytes(skb, packet->at, ports, sizeof(ports)))
			return false;
		packet->source_port = bpf_ntohs(ports[0]);
		packet->destination_port = bpf_ntohs(ports[1]);
	} else if (is_icmp(packet)) {
		if (bpf_skb_load_bytes(skb, packet->at, &icmp, sizeof(icmp)))
			return false;
		packet->icmp_type = icmp.type;
		if (is_echo(packet)) {
			packet->source_port = bpf_ntohs(icmp.number);
			packet->destination_port = packet->source_port;
		}
	}
	return true;
}

static __always_inline bool is_own(__u32 generation, __u32 port, const struct address *address)
{
	struct own_address key = { .generation = generation, .port = port, .address = *address };

	return bpf_map_lookup_elem(&addresses, &key);
}

static __always_inline bool is_unspecified(const struct address *address)
{
	return !address->word[0] && !address->word[1] && !address->word[3] &&
	       (!address->word[2] || address->word[2] == bpf_htonl(0xffff));
}

// A host without an address requests one, or asks whether an address is free.
static __always_inline bool may_be_without_address(const struct packet *packet)
{
	if (packet->version == 4)
		return packet->protocol == IPPROTO_UDP && packet->source_port == DHCP_CLIENT &&
		       packet->destination_port == DHCP_SERVER;
	return is_icmp(packet) && (packet->icmp_type == ND_NEIGHBOUR_SOLICITATION ||
				   packet->icmp_type == ND_ROUTER_SOLICITATION);
}

static __always_inline bool same_mac(const __u8 *one, const __u8 *other)
{
	return one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3] &&
	       one[4] == other[4] && one[5] == other[5];
}

// ARP with another host's address as sender is spoofed as well.
static __always_inline bool is_spoofed_arp(struct __sk_buff *skb, __u32 generation, const struct port *port)
{
	struct address sender;
	struct arp arp;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &arp, sizeof(arp)))
		return true;
	if ((port->checks & CHECK_MAC) && !same_mac(arp.sender_mac, port->mac))
		return true;
	map_v4(&sender, arp.sender);
	// The sender 0.0.0.0 asks whether an address is free.
	return (port->checks & CHECK_ADDRESS) && arp.sender && !is_own(generation, skb->ifindex, &sender);
}

static __always_inline bool is_spoofed(struct __sk_buff *skb, __u32 generation, const struct port *port,
				       const struct packet *packet)
{
	struct address target;

	if (!(port->checks & CHECK_ADDRESS))
		return false;
	if (is_unspecified(&packet->source))
		return !may_be_without_address(packet);
	if (!is_own(generation, skb->ifindex, &packet->source))
		return true;
	if (packet->version == 4 || !is_icmp(packet) || packet->icmp_type != ND_NEIGHBOUR_ADVERTISEMENT)
		return false;
	// No host sends neighbour discovery in fragments, or accepts it (RFC 6980): the rest could have other contents.
	if (packet->fragment)
		return true;
	// The target address is behind the ICMP header.
	if (bpf_skb_load_bytes(skb, packet->at + sizeof(struct icmp), &target, sizeof(target)))
		return true;
	return !is_own(generation, skb->ifindex, &target);
}

static __always_inline void fill_key(struct connection_key *key, __u32 port, const struct packet *packet, bool out)
{
	key->own = out ? packet->source : packet->destination;
	key->peer = out ? packet->destination : packet->source;
	key->own_port = out ? packet->source_port : packet->destination_port;
	key->peer_port = out ? packet->destination_port : packet->source_port;
	key->port = port;
	key->protocol = packet->protocol;
}

// Returns whether both ends have sent FIN, or one has sent RST.
static __always_inline bool has_ended(const struct connection *connection)
{
	return connection->reset || (connection->closed[OUT] && connection->closed[IN]);
}

static __always_inline bool is_over(const struct connection *connection, __u32 protocol, __u32 generation, __u64 now)
{
	__u32 which = generation & 1, phase = OTHER;
	struct timeouts *found = bpf_map_lookup_elem(&timeouts, &which);

	if (!found)
		return true;
	if (protocol == IPPROTO_TCP) {
		bool answered = connection->packets[OUT] && connection->packets[IN];

		phase = answered && !has_ended(connection) ? ESTABLISHED : OPENING;
	}
	return now - connection->last > found->seconds[phase] * SECOND;
}

static __always_inline void note(struct connection *connection, const struct packet *packet, enum direction direction)
{
	if (packet->tcp_flags & TCP_FIN)
		connection->closed[direction & 1] = 1;
	if (packet->tcp_flags & TCP_RST)
		connection->reset = 1;
}

// Returns whether the packet belongs to an existing connection.
static __always_inline bool goes_on(const struct connection_key *key, const struct packet *packet,
				    enum direction direction, __u32 generation)
{
	struct connection *connection = bpf_map_lookup_elem(&connections, key);
	__u64 now;

	if (!connection)
		return false;
	now = bpf_ktime_get_boot_ns();
	if (is_over(connection, packet->protocol, generation, now))
		return false;
	// Ports are reused: rules must judge the new connection.
	if ((packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && has_ended(connection))
		return false;
	connection->last = now;
	__sync_fetch_and_add(&connection->packets[direction & 1], 1);
	note(connection, packet, direction);
	return true;
}

// Returns whether the packet is an error about a packet of a connection in the other direction.
static __always_inline bool is_related(struct __sk_buff *skb, const struct packet *packet, enum direction direction,
				       __u32 generation)
{
	struct connection_key key = {};
	struct connection *connection;
	struct packet inner = {};

	if (!read_packet(skb, &inner, packet->at + sizeof(struct icmp), packet->version) || inner.later_fragment)
		return false;
	fill_key(&key, skb->ifindex, &inner, direction == IN);
	connection = bpf_map_lookup_elem(&connections, &key);
	return connection && !is_over(connection, inner.protocol, generation, bpf_ktime_get_boot_ns());
}

static __always_inline bool allows(__u32 generation, __u32 class, const struct packet *packet)
{
	struct service key = { .generation = generation, .class = class, .protocol = ANY_PROTOCOL };

	if (bpf_map_lookup_elem(&services, &key))
		return true;
	key.protocol = packet->protocol;
	if (bpf_map_lookup_elem(&services, &key))
		return true;
	// The identifier of an echo is not a port.
	key.port = is_icmp(packet) ? 0 : packet->destination_port;
	return key.port && bpf_map_lookup_elem(&services, &key);
}

#define LOOKED_AT 8

// Gives a connection a place in the share of its port. Of some random places it takes one whose connection has ended,
// else the one silent for longest, and evicts that. A host that begins many connections so loses only its own.
static __always_inline void give_place(struct __sk_buff *skb, const struct port *port, const struct connection_key *key,
				       enum direction direction, __u32 generation, __u64 now)
{
	__u32 first = port->first, count = port->count, chosen = 0;
	__u64 silent = ~0ULL;
	struct connection_key *place;

	if (direction == IN) {
		struct port_key beginner = { .generation = generation, .port = skb->ingress_ifindex };
		struct port *found = bpf_map_lookup_elem(&ports, &beginner);

		first = found ? found->first : 0;
	}
	if (!count)
		return;
	for (int look = 0; look < LOOKED_AT && silent; look++) {
		__u32 at = first + bpf_get_prandom_u32() % count;
		struct connection *other;

		place = bpf_map_lookup_elem(&places, &at);
		if (!place)
			return;
		other = bpf_map_lookup_elem(&connections, place);
		if (!other || is_over(other, place->protocol, generation, now)) {
			silent = 0;
			chosen = at;
		} else if (other->last < silent) {
			silent = other->last;
			chosen = at;
		}
	}
	place = bpf_map_lookup_elem(&places, &chosen);
	if (!place)
		return;
	bpf_map_delete_elem(&connections, place);
	*place = *key;
}

// Returns whether the packet may begin a connection, or pass without one.
static __always_inline bool may_begin(struct __sk_buff *skb, const struct port *port, const struct packet *packet,
				      enum direction direction, __u32 generation, const struct connection_key *key)
{
	struct connection connection = { .begun = direction };
	struct peer peer = {};
	__u32 *class;

	// An answer without a request, or the middle of a connection.
	if (packet->protocol == IPPROTO_TCP && !packet->later_fragment &&
	    (packet->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN)
		return false;
	if (is_icmp(packet) && is_echo(packet) && !is_echo_request(packet) && !packet->later_fragment)
		return false;
	peer.length = 8 * (sizeof(peer) - sizeof(peer.length));
	peer.generation = generation;
	peer.port = skb->ifindex;
	peer.direction = direction;
	peer.version = packet->version;
	peer.address = key->peer;
	class = bpf_map_lookup_elem(&peers, &peer);
	if (!class || !allows(generation, *class, packet))
		return false;
	// Other ICMP messages have no answer; later fragments do not show their connection.
	if ((is_icmp(packet) && !is_echo_request(packet)) || packet->later_fragment)
		return true;
	connection.last = bpf_ktime_get_boot_ns();
	connection.packets[direction & 1] = 1;
	give_place(skb, port, key, direction, generation, connection.last);
	bpf_map_update_elem(&connections, key, &connection, BPF_ANY);
	return true;
}

// Neighbours find each other without rules. A router's advertisements require a rule.
static __always_inline bool is_neighbour_discovery(const struct packet *packet, enum direction direction)
{
	if (packet->version != 6 || !is_icmp(packet) || packet->fragment)
		return false;
	return packet->icmp_type == ND_NEIGHBOUR_SOLICITATION || packet->icmp_type == ND_NEIGHBOUR_ADVERTISEMENT ||
	       packet->icmp_type == ND_ROUTER_SOLICITATION ||
	       (direction == IN && packet->icmp_type == ND_ROUTER_ADVERTISEMENT);
}

static __always_inline int judge(struct __sk_buff *skb, enum direction direction)
{
	__u32 zero = 0, id = skb->ifindex, bytes = skb->len;
	__u64 *now = bpf_map_lookup_elem(&active, &zero);
	struct connection_key key = {};
	struct port_key port_key = {};
	struct packet packet = {};
	struct ethhdr ethernet;
	struct port *port;
	__u32 generation;

	generation = now ? (__u32)*(volatile __u64 *)now : 0;
	if (!generation)
		return TC_ACT_UNSPEC;
	port_key.generation = generation;
	port_key.port = id;
	port = bpf_map_lookup_elem(&ports, &port_key);
	if (!port) // no rule is about it
		return TC_ACT_UNSPEC;
	// With a tag, it would be a frame of another network.
	if (skb->vlan_present || bpf_skb_load_bytes(skb, 0, &ethernet, sizeof(ethernet)))
		return finish(id, UNREADABLE, bytes, TC_ACT_SHOT);
	if (direction == OUT && (port->checks & CHECK_MAC) && !same_mac(ethernet.h_source, port->mac))
		return finish(id, SPOOFED, bytes, TC_ACT_SHOT);
	if (ethernet.h_proto == bpf_htons(ETH_P_ARP)) {
		if (direction == OUT && is_spoofed_arp(skb, generation, port))
			return finish(id, SPOOFED, bytes, TC_ACT_SHOT);
		return finish(id, PASSED + direction, bytes, TC_ACT_UNSPEC);
	}
	if (ethernet.h_proto != bpf_htons(ETH_P_IP) && ethernet.h_proto != bpf_htons(ETH_P_IPV6))
		return finish(id, UNREADABLE, bytes, TC_ACT_SHOT);
	if (!read_packet(skb, &packet, ETH_HLEN, ethernet.h_proto == bpf_htons(ETH_P_IP) ? 4 : 6))
		return finish(id, UNREADABLE, bytes, TC_ACT_SHOT);
	// The flags are behind ports, sequence number, acknowledgement and offset.
	if (packet.protocol == IPPROTO_TCP && !packet.later_fragment &&
	    bpf_skb_load_bytes(skb, packet.at + 13, &packet.tcp_flags, 1))
		return finish(id, UNREADABLE, bytes, TC_ACT_SHOT);
	if (direction == OUT && is_spoofed(skb, generation, port, &packet))
		return finish(id, SPOOFED, bytes, TC_ACT_SHOT);
	if (is_neighbour_discovery(&packet, direction))
		return finish(id, PASSED + direction, bytes, TC_ACT_UNSPEC);
	fill_key(&key, id, &packet, direction == OUT);
	if (!packet.later_fragment && goes_on(&key, &packet, direction, generation))
		return finish(id, PASSED + direction, bytes, TC_ACT_UNSPEC);
	if (is_icmp(&packet) && !packet.later_fragment && is_icmp_error(&packet)) {
		if (is_related(skb, &packet, direction, generation))
			return finish(id, PASSED + direction, bytes, TC_ACT_UNSPEC);
	}
	if (may_begin(skb, port, &packet, direction, generation, &key))
		return finish(id, PASSED + direction, bytes, TC_ACT_UNSPEC);
	return finish(id, REFUSED + direction, bytes, TC_ACT_SHOT);
}

SEC("tcx/ingress")
int switch_port_out(struct __sk_buff *skb)
{
	return judge(skb, OUT);
}

SEC("tcx/egress")
int switch_port_in(struct __sk_buff *skb)
{
	return judge(skb, IN);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
