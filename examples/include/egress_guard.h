// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Maps of the egress guard: its rules, learned addresses, and reports.
//
// User space writes new rules beside the old ones, with the next generation's number in every key, and then
// changes `active`, a single word: each packet meets either all old rules or all new ones.
#ifndef EGRESS_GUARD_H
#define EGRESS_GUARD_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "dns.h"

#define MAX_RULES 4096
#define MAX_PORTS 65536
#define MAX_LEARNT 65536
#define MAX_QUERIES 8192
#define MAX_CONNECTIONS 65536

// IPv4 as ::ffff:a.b.c.d.
struct address {
	__be32 word[4];
};

// Low half: the generation that packets use; 0 before the first rules, when all packets pass. High half: for user space.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} active SEC(".maps");

enum mode { SHADOW, ENFORCE };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} mode SEC(".maps");

// By the last bit of the generation: minimum and maximum time for which an address is learned, in seconds.
struct bounds {
	__u32 least;
	__u32 most;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct bounds);
} bounds SEC(".maps");

struct resolver {
	__u32 generation;
	struct address address;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct resolver);
	__type(value, __u32);
} resolvers SEC(".maps");

// Prefixes and names lead to classes. The class of a prefix includes the ports of wider prefixes.
struct prefix {
	__u32 length; // with generation and family
	__u32 generation;
	__u32 family; // 4 or 6, so that the prefix ::/0 contains no IPv4 address
	struct address address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * MAX_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

// `example.com` is a whole key with its zero; `*.example.com` is a prefix that ends behind the dot.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * MAX_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dns_name);
	__type(value, __u32);
} names SEC(".maps");

// A name keeps its number from one generation to the next.
#define NAME_CLASS 0x80000000
#define ANY_PROTOCOL 0xffff

struct port {
	__u32 generation;
	__u32 class;
	__u16 protocol; // or ANY_PROTOCOL
	__u16 port; // of the host's byte order; 0: any
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port);
	__type(value, __u32);
} ports SEC(".maps");

// Queries without an answer so far.
struct query {
	struct address asker; // the asker's address at an interface; at a cgroup, its socket's cookie
	struct address resolver;
	__u16 port; // the asker's
	__be16 id;
};

struct asked {
	__u64 hash; // of the requested name
	__u32 name;
	__u32 second;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_QUERIES);
	__type(key, struct query);
	__type(value, struct asked);
} queries SEC(".maps");

// One address may belong to several names. High half: the time until which it is known, in seconds since boot; low
// half: the name's class. Both are in one word, so that they always match.
#define NAMES_OF_ADDRESS 4

struct learnt {
	__u64 slots[NAMES_OF_ADDRESS];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_LEARNT);
	__type(key, struct address);
	__type(value, struct learnt);
} learnt SEC(".maps");

// The destination that a TCP socket was allowed, so that a connection may outlive the TTL of its name.
struct passed {
	struct address address;
	__u32 generation;
	__u32 class;
	__u32 port;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct passed);
} passed SEC(".maps");

// The same for connections at an interface, where segments have no socket.
struct connection {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CONNECTIONS);
	__type(key, struct connection);
	__type(value, struct passed);
} connections SEC(".maps");

// For user space only: the rules as text. The key is the generation, then the rule's number.
struct rule_key {
	__u32 generation;
	__u32 number;
};

struct rule {
	__u32 name; // the class of its name, or 0
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

enum reason {
	DESTINATION, // no rule has the address
	PORT, // a rule has it, but not this protocol and port
	NAME, // a query for a name that no rule allows
	QUERY, // not a plain query, but to a resolver's port
	HEADER, // it hides its destination: IP options, extension headers, a header cut short, a frame that is not IP
};

struct event {
	__u64 group; // the cgroup's id: the inode of its folder; 0 if no socket sent it
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 reason;
	__u8 dropped;
	__u8 version; // 4, 6
	__u32 bytes;
	__u32 interface; // its index; 0 at a cgroup
	char reversed[DNS_NAME_MAX + 1]; // the requested name, reversed
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
	__type(value, struct event);
} events SEC(".maps");

// Counts events that found the ring buffer full.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

// User space reads these slots by number.
enum count { PASSED, REFUSED_SHADOW, DROPPED, ASKED, LEARNT, UNASKED, COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

#endif
