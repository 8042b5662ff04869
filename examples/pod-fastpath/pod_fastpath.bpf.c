// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Brings packets to pods past the host's network stack. At the node's interface and at the host's ends of the pods' veths,
// a packet to a pod that is known goes into the pod's namespace at once; one to a network that is known goes out of that
// network's interface. What is not known, or needs more than forwarding, goes to the stack as ever.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_PODS 65536
#define MAX_NETWORKS 1024

// The next program's turn, and behind the last one the stack's.
#define NEXT (-1)

// IPv4 as ::ffff:a.b.c.d.
struct address {
	__be32 words[4];
};

struct count {
	__u64 packets;
	__u64 bytes; // with the Ethernet header
};

struct pod {
	__u32 interface; // the host's end of its veth
	__u32 origin; // user space's own: who said so
	__u8 mac[ETH_ALEN];
	__u8 host_mac[ETH_ALEN]; // of the host's end
	struct count sent; // to the pod
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PODS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, struct pod);
} pods SEC(".maps");

struct prefix {
	__u32 length; // of IPv4: 96 more
	struct address address;
};

struct network {
	__u32 interface;
	__u32 origin;
	struct count sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_NETWORKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, struct network);
} networks SEC(".maps");

// What became of packets. User space reads these slots by number.
enum outcome {
	TO_POD,
	TO_NETWORK,
	UNKNOWN, // from here on: to the stack. Nothing is known of the destination
	FOREIGN_SOURCE, // a pod's address from elsewhere, or another's from a pod
	EXPIRED, // no hop is left: the stack tells the sender
	TOO_LARGE, // the stack tells the sender, or makes fragments. Also: the interface is gone
	OTHER, // no IP, IP options, a VLAN, or not for this machine's address
	OUTCOMES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, struct count);
} stats SEC(".maps");

// Where packets come in.
enum side { NETWORK, POD };

static __always_inline void add(struct count *count, __u64 bytes)
{
	__sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, bytes);
}

static __always_inline int finish(__u32 outcome, __u64 bytes, int verdict)
{
	struct count *count = bpf_map_lookup_elem(&stats, &outcome);

	if (count) { // this CPU's own, so no atomics
		count->packets++;
		count->bytes += bytes;
	}
	return verdict;
}

// What is read of a packet, and where its hop limit is.
struct header {
	struct address source, destination;
	__u8 hops;
};

static __always_inline struct address mapped(__be32 address)
{
	return (struct address){ { 0, 0, bpf_htonl(0xffff), address } };
}

static __always_inline bool read(struct header *header, struct ethhdr *eth, void *end)
{
	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || ip->ihl != 5)
			return false;
		header->source = mapped(ip->saddr);
		header->destination = mapped(ip->daddr);
		header->hops = ip->ttl;
		return true;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = (void *)(eth + 1);

		if ((void *)(ip6 + 1) > end)
			return false;
		__builtin_memcpy(&header->source, &ip6->saddr, sizeof(header->source));
		__builtin_memcpy(&header->destination, &ip6->daddr, sizeof(header->destination));
		header->hops = ip6->hop_limit;
		return true;
	}
	return false;
}

// What a router does to a packet. False if the packet is shorter than it was when it was read.
static __always_inline bool pass_a_hop(struct __sk_buff *skb, struct pod *pod)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		__u32 check;

		if ((void *)(ip + 1) > end)
			return false;
		// The sum of the header's words is less by 1 in the upper half of one word (RFC 1624).
		check = (__u32)ip->check + bpf_htons(0x0100);
		ip->check = check + (check >= 0xffff);
		ip->ttl--;
	} else {
		struct ipv6hdr *ip6 = (void *)(eth + 1);

		if ((void *)(ip6 + 1) > end)
			return false;
		ip6->hop_limit--;
	}
	if (pod) {
		__builtin_memcpy(eth->h_dest, pod->mac, ETH_ALEN);
		__builtin_memcpy(eth->h_source, pod->host_mac, ETH_ALEN);
	}
	return true;
}

// The stack drops what claims to be from elsewhere (rp_filter), and is asked.
static __always_inline bool is_foreign(struct __sk_buff *skb, struct address *source, enum side side)
{
	struct pod *pod = bpf_map_lookup_elem(&pods, source);

	return side == POD ? !pod || pod->interface != skb->ifindex : !!pod;
}

static __always_inline int forward(struct __sk_buff *skb, enum side side)
{
	struct prefix prefix = { .length = 128 };
	struct header header = {};
	struct network *network = NULL;
	__u32 interface, mtu = 0;
	struct pod *pod;

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present ||
	    !read(&header, (void *)(long)skb->data, (void *)(long)skb->data_end))
		return finish(OTHER, skb->len, NEXT);
	pod = bpf_map_lookup_elem(&pods, &header.destination);
	if (!pod) {
		prefix.address = header.destination;
		network = bpf_map_lookup_elem(&networks, &prefix);
		if (!network)
			return finish(UNKNOWN, skb->len, NEXT);
	}
	if (is_foreign(skb, &header.source, side))
		return finish(FOREIGN_SOURCE, skb->len, NEXT);
	if (header.hops <= 1)
		return finish(EXPIRED, skb->len, NEXT);
	interface = pod ? pod->interface : network->interface;
	if (bpf_check_mtu(skb, interface, &mtu, 0, 0))
		return finish(TOO_LARGE, skb->len, NEXT);
	if (!pass_a_hop(skb, pod))
		return finish(OTHER, skb->len, NEXT);
	if (pod) {
		add(&pod->sent, skb->len);
		return finish(TO_POD, skb->len, bpf_redirect_peer(interface, 0));
	}
	add(&network->sent, skb->len);
	// The kernel looks up the next hop and its address.
	return finish(TO_NETWORK, skb->len, bpf_redirect_neigh(interface, NULL, 0, 0));
}

SEC("tcx/ingress")
int from_network(struct __sk_buff *skb)
{
	return forward(skb, NETWORK);
}

SEC("tcx/ingress")
int from_pod(struct __sk_buff *skb)
{
	return forward(skb, POD);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
