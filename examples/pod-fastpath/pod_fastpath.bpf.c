// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Forwards packets of pods past the host's network stack. At the node's interface and at the host's ends of the pods'
// veths, a packet to a known pod is redirected into the pod's namespace; a packet of a pod to a known network is redirected
// to that network's interface. Other packets, and those that need more than forwarding, go to the stack as before.
//
// At the node's interface there are two variants: at tcx, and at XDP, where a packet is a frame for which the kernel has
// not allocated anything yet. XDP passes frames to the host's end of a pod's veth, whose other end must accept them.
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
#define MAX_INTERFACES 131072

// Continues with the next program, and after the last one with the stack.
#define NEXT (-1)

// <sys/socket.h> needs a C library.
#define AF_INET 2
#define AF_INET6 10

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
	__u32 origin; // for user space only: the source of the entry
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
	__u32 length; // in bits, with those of the family; for IPv4, 96 more
	__u32 family; // so that the prefix ::/0 contains no IPv4 address
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

// Data of the host's interfaces that XDP programs cannot query.
struct interface {
	__u8 mac[ETH_ALEN];
	__u16 takes_frames; // the source of the information that sent frames arrive; 0: none
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_INTERFACES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct interface);
} interfaces SEC(".maps");

// Outcomes of packets. User space reads these slots by number.
enum outcome {
	TO_POD,
	TO_NETWORK,
	UNKNOWN, // no known pod or network. This and all below go to the stack
	FOREIGN_SOURCE, // a pod's address at another interface, or another address at a pod's
	EXPIRED, // the TTL is used up: the stack informs the sender
	TOO_LARGE, // the stack informs the sender, or makes fragments. Also if the interface is gone
	OTHER, // no IP, IP options, a VLAN, or not for this machine's address
	NOT_FORWARDED, // the stack would not forward it to the network: it is for the node itself, or forwarding is off
	TAKES_NO_FRAMES, // XDP only: the pod's end of the veth does not accept frames
	DROPPED, // part of TO_POD: dropped by the kernel after XDP. Bytes are unknown
	OUTCOMES,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, struct count);
} stats SEC(".maps");

// Hooks at which packets arrive.
enum side { NETWORK, NETWORK_XDP, POD };

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

// Fields of a packet that are read, and the offset of its hop limit.
struct header {
	struct address source, destination;
	__u8 family;
	__u8 hops;
};

static __always_inline struct address mapped(__be32 address)
{
	return (struct address){ { 0, 0, bpf_htonl(0xffff), address } };
}

static __always_inline bool is_mapped(const struct address *address)
{
	return !address->words[0] && !address->words[1] && address->words[2] == bpf_htonl(0xffff);
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
		header->family = AF_INET;
		header->hops = ip->ttl;
		return true;
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = (void *)(eth + 1);

		if ((void *)(ip6 + 1) > end)
			return false;
		__builtin_memcpy(&header->source, &ip6->saddr, sizeof(header->source));
		__builtin_memcpy(&header->destination, &ip6->daddr, sizeof(header->destination));
		header->family = AF_INET6;
		header->hops = ip6->hop_limit;
		// Mapped addresses do not occur on a wire, and stand for IPv4 addresses in the maps.
		return !is_mapped(&header->source) && !is_mapped(&header->destination);
	}
	return false;
}

// Changes a packet like a router does. Returns false if the packet is shorter than when it was read.
static __always_inline bool pass_a_hop(struct ethhdr *eth, void *end, struct pod *pod)
{
	if ((void *)(eth + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		__u32 check;

		if ((void *)(ip + 1) > end)
			return false;
		// Adds 1 to the checksum's upper byte, since the word with the TTL decreases by that (RFC 1624).
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

// Returns whether the source is not behind this interface. The stack drops such packets (rp_filter), and gets them.
static __always_inline bool is_foreign(__u32 came_in_by, struct address *source, enum side side)
{
	struct pod *pod = bpf_map_lookup_elem(&pods, source);

	return side == POD ? !pod || pod->interface != came_in_by : !!pod;
}

static __always_inline bool takes_frames(__u32 number)
{
	struct interface *interface = bpf_map_lookup_elem(&interfaces, &number);

	return interface && interface->takes_frames;
}

// At most one of pod and network is set.
struct target {
	struct pod *pod;
	struct network *network;
	struct bpf_redir_neigh hop; // towards the network; of family 0: the kernel has to look it up
};

// Decides about a packet without a change of it.
static __always_inline enum outcome decide(void *ctx, const struct header *header, __u32 came_in_by, enum side side,
					   struct target *target)
{
	struct address source = header->source;
	struct prefix prefix = { .family = header->family, .address = header->destination };
	__u32 interface, mtu = 0;

	target->pod = bpf_map_lookup_elem(&pods, &prefix.address);
	if (!target->pod) {
		// A packet from another interface than a pod's and to no pod is left to the stack.
		prefix.length = 8 * (sizeof(prefix) - sizeof(prefix.length));
		target->network = side == POD ? bpf_map_lookup_elem(&networks, &prefix) : NULL;
		if (!target->network)
			return UNKNOWN;
	}
	if (is_foreign(came_in_by, &source, side))
		return FOREIGN_SOURCE;
	if (header->hops <= 1)
		return EXPIRED;
	interface = target->pod ? target->pod->interface : target->network->interface;
	if (bpf_check_mtu(ctx, interface, &mtu, 0, 0))
		return TOO_LARGE;
	if (side == NETWORK_XDP && !takes_frames(interface))
		return TAKES_NO_FRAMES;
	return target->pod ? TO_POD : TO_NETWORK;
}

// Looks up the stack's routes, which always know the node's own addresses: those lie in its networks, and change.
// The routes also give the next hop, so that the kernel need not look it up again.
static __always_inline bool is_forwarded(struct __sk_buff *skb, const struct header *header, struct target *target)
{
	struct bpf_fib_lookup route = {};
	long result;

	route.family = header->family;
	route.ifindex = skb->ifindex;
	if (header->family == AF_INET) {
		route.ipv4_src = header->source.words[3];
		route.ipv4_dst = header->destination.words[3];
	} else {
		__builtin_memcpy(route.ipv6_src, &header->source, sizeof(route.ipv6_src));
		__builtin_memcpy(route.ipv6_dst, &header->destination, sizeof(route.ipv6_dst));
	}
	result = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	if (result != BPF_FIB_LKUP_RET_SUCCESS && result != BPF_FIB_LKUP_RET_NO_NEIGH)
		return false;
	if (target->network && route.ifindex == target->network->interface) {
		// An IPv4 address is the first word of either field. The next hop may be an IPv6 address.
		target->hop.nh_family = route.family;
		__builtin_memcpy(target->hop.ipv6_nh, route.ipv6_dst, sizeof(target->hop.ipv6_nh));
	}
	return true;
}

static __always_inline int forward(struct __sk_buff *skb, enum side side)
{
	struct ethhdr *eth = (void *)(long)skb->data;
	struct header header = {};
	struct target target = {};
	enum outcome outcome;

	if (skb->pkt_type != PACKET_HOST || skb->vlan_present || !read(&header, eth, (void *)(long)skb->data_end))
		return finish(OTHER, skb->len, NEXT);
	outcome = decide(skb, &header, skb->ifindex, side, &target);
	if (outcome == TO_NETWORK && !is_forwarded(skb, &header, &target))
		outcome = NOT_FORWARDED;
	if (outcome != TO_POD && outcome != TO_NETWORK)
		return finish(outcome, skb->len, NEXT);
	if (!pass_a_hop(eth, (void *)(long)skb->data_end, target.pod))
		return finish(OTHER, skb->len, NEXT);
	if (target.pod) {
		add(&target.pod->sent, skb->len);
		return finish(TO_POD, skb->len, bpf_redirect_peer(target.pod->interface, 0));
	}
	if (!target.network)
		return finish(UNKNOWN, skb->len, NEXT);
	add(&target.network->sent, skb->len);
	// The kernel looks up the next hop's hardware address and, if the route has a gateway, the next hop as well.
	if (!target.hop.nh_family)
		return finish(TO_NETWORK, skb->len, bpf_redirect_neigh(target.network->interface, NULL, 0, 0));
	return finish(TO_NETWORK, skb->len,
		      bpf_redirect_neigh(target.network->interface, &target.hop, sizeof(target.hop), 0));
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

// Returns whether the frame is for the interface's own address, as user space last saw it.
static __always_inline bool is_for_host(struct xdp_md *ctx, struct ethhdr *eth, void *end)
{
	__u32 number = ctx->ingress_ifindex;
	struct interface *interface = bpf_map_lookup_elem(&interfaces, &number);

	__u8 difference = 0;

	if (!interface || (void *)(eth + 1) > end)
		return false;
#pragma unroll
	for (int byte = 0; byte < ETH_ALEN; byte++)
		difference |= eth->h_dest[byte] ^ interface->mac[byte];
	return !difference;
}

SEC("xdp")
int from_network_xdp(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u64 length = end - (void *)eth;
	struct header header = {};
	struct target target = {};
	enum outcome outcome;

	if (!is_for_host(ctx, eth, end) || !read(&header, eth, end))
		return finish(OTHER, length, XDP_PASS);
	outcome = decide(ctx, &header, ctx->ingress_ifindex, NETWORK_XDP, &target);
	if (outcome != TO_POD || !target.pod)
		return finish(outcome, length, XDP_PASS);
	if (!pass_a_hop(eth, end, target.pod))
		return finish(OTHER, length, XDP_PASS);
	add(&target.pod->sent, length);
	return finish(TO_POD, length, bpf_redirect(target.pod->interface, 0));
}

// If an interface does not accept a frame, the kernel drops it; only these tracepoints report it.
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct trace_event_raw_xdp_redirect_template {
	int to_ifindex;
};
struct trace_event_raw_xdp_devmap_xmit {
	int to_ifindex;
	int drops;
};
#pragma clang attribute pop

static __always_inline void count_dropped(__u32 interface, __u64 packets)
{
	__u32 outcome = DROPPED;
	struct count *count = bpf_map_lookup_elem(&stats, &outcome);

	if (count && takes_frames(interface))
		count->packets += packets;
}

// Before the transmission: the interface is down, or accepts no frames (Linux 6.3).
SEC("tracepoint/xdp/xdp_redirect_err")
int refused(struct trace_event_raw_xdp_redirect_template *event)
{
	count_dropped(event->to_ifindex, 1);
	return 0;
}

// In the transmission, several together: the queue of the pod's end is full, or it accepts no frames (before 6.3).
SEC("tracepoint/xdp/xdp_devmap_xmit")
int lost(struct trace_event_raw_xdp_devmap_xmit *event)
{
	if (event->drops > 0)
		count_dropped(event->to_ifindex, event->drops);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
