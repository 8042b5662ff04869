// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Maps of the switch's ports: rules of user space, and connections.
//
// User space writes new rules beside the old ones, with the next generation's number in every key, and then
// changes `active`, a single word: each frame meets either all old rules or all new ones.
#ifndef SWITCH_PORT_H
#define SWITCH_PORT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAX_PORTS 256
#define MAX_ADDRESSES 4096
#define MAX_RULES 4096
#define MAX_SERVICES 65536
#define MAX_PLACES 65536
// Each port evicts only connections of its own share. With twice as many entries, the map itself evicts none.
#define MAX_CONNECTIONS (2 * MAX_PLACES)

// IPv4 as ::ffff:a.b.c.d.
struct address {
	__be32 word[4];
};

// Low half: the generation that frames use; 0 before the first rules, when everything passes. High half: unused.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} active SEC(".maps");

struct port_key {
	__u32 generation;
	__u32 port; // the interface's index
};

#define CHECK_MAC 1
#define CHECK_ADDRESS 2

struct port {
	__u8 mac[6];
	__u16 checks;
	// The range of `places` for connections begun at this port. A range of the same size, from 0 on, is for all others.
	__u32 first;
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * MAX_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port_key);
	__type(value, struct port);
} ports SEC(".maps");

// An address from which a port may send.
struct own_address {
	__u32 generation;
	__u32 port;
	struct address address;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * MAX_ADDRESSES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct own_address);
	__type(value, __u32);
} addresses SEC(".maps");

// From the point of view of the host at the port: frames that it sends, and frames that it gets.
enum direction { OUT, IN };

// A peer with which a connection may begin. The class of a prefix includes the services of wider prefixes.
struct peer {
	__u32 length; // with all fields before the address
	__u32 generation;
	__u32 port;
	__u16 direction;
	__u16 version; // 4, 6
	struct address address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4 * MAX_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct peer);
	__type(value, __u32);
} peers SEC(".maps");

#define ANY_PROTOCOL 0xffff

struct service {
	__u32 generation;
	__u32 class;
	__u16 protocol; // or ANY_PROTOCOL
	__u16 port; // the destination's, of the host's byte order; 0: any
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SERVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service);
	__type(value, __u32);
} services SEC(".maps");

// Seconds without a frame after which a connection ends. By the last bit of the generation.
enum phase { OPENING, ESTABLISHED, OTHER, PHASES };

struct timeouts {
	__u32 seconds[PHASES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct timeouts);
} timeouts SEC(".maps");

// The key is the same for both directions.
struct connection_key {
	struct address own;
	struct address peer;
	__u32 port; // of the switch
	__u16 own_port; // of TCP, UDP and SCTP; for an echo, both are its identifier
	__u16 peer_port;
	__u32 protocol;
};

struct connection {
	__u64 last; // nanoseconds since boot
	__u64 packets[2]; // by direction
	// The flags are separate bytes, so that CPUs can set different flags at the same time.
	__u8 closed[2]; // FIN of TCP, by direction
	__u8 reset; // RST of TCP
	__u8 begun; // the direction of its first frame
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CONNECTIONS);
	__type(key, struct connection_key);
	__type(value, struct connection);
} connections SEC(".maps");

// Begun connections, by their place.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_PLACES);
	__type(key, __u32);
	__type(value, struct connection_key);
} places SEC(".maps");

// User space reads these by number.
enum outcome {
	PASSED, // + direction
	REFUSED = 2, // + direction: neither a rule nor a connection allows it
	SPOOFED = 4, // from a MAC or IP address of another host
	UNREADABLE, // neither ARP, IPv4 nor IPv6, cut short, or behind more extension headers than are read
	OUTCOMES,
};

struct counts {
	__u64 frames[OUTCOMES];
	__u64 bytes[OUTCOMES];
};

// By port. User space makes the entries.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2 * MAX_PORTS);
	__type(key, __u32);
	__type(value, struct counts);
} stats SEC(".maps");

// For user space only: the rules as text. The key is the generation, then the rule's number.
struct rule_key {
	__u32 generation;
	__u32 number;
};

struct rule {
	__u32 port; // index of its interface at that time
	char text[316];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * MAX_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rule_key);
	__type(value, struct rule);
} rules SEC(".maps");

// For user space only: the process that changes rules holds the single entry.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} writer SEC(".maps");

#endif
