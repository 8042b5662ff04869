// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Destinations of datagrams: of connect, and of sends with an address. Programs at cgroups get the kernel's own
// copy of the address, which the process cannot change any more, but on some kernels they can neither read other
// memory nor send signals. They therefore record it, and a program at the end of the call finds it.
#ifndef EXAMPLES_DATAGRAM_H
#define EXAMPLES_DATAGRAM_H

#include "destination.h"
#include <linux/in.h>
#include <stdbool.h>

#define SOCK_STREAM 1

struct datagram {
	struct in6_addr address;
	__u16 port;
	__u16 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32); // the thread
	__type(value, struct datagram);
} datagrams SEC(".maps");

// Records a datagram's destination. Streams are seen at their connect.
static __always_inline int note(struct bpf_sock_addr *ctx, struct datagram *datagram)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();

	datagram->port = bpf_ntohs(ctx->user_port);
	datagram->protocol = ctx->protocol;
	if (ctx->type != SOCK_STREAM)
		bpf_map_update_elem(&datagrams, &thread, datagram, BPF_ANY);
	return 1; // go on
}

static __always_inline int note_v4(struct bpf_sock_addr *ctx)
{
	struct datagram datagram = {};

	map_v4(&datagram.address, ctx->user_ip4);
	return note(ctx, &datagram);
}

static __always_inline int note_v6(struct bpf_sock_addr *ctx)
{
	struct datagram datagram = {};
	__be32 *words = datagram.address.in6_u.u6_addr32;

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	return note(ctx, &datagram);
}

SEC("cgroup/connect4")
int note_connect4(struct bpf_sock_addr *ctx)
{
	return note_v4(ctx);
}

SEC("cgroup/connect6")
int note_connect6(struct bpf_sock_addr *ctx)
{
	return note_v6(ctx);
}

SEC("cgroup/sendmsg4")
int note_send4(struct bpf_sock_addr *ctx)
{
	return note_v4(ctx);
}

SEC("cgroup/sendmsg6")
int note_send6(struct bpf_sock_addr *ctx)
{
	return note_v6(ctx);
}

// Returns the destination that the ending call has recorded, once.
static __always_inline bool noted_datagram(struct datagram *datagram)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	struct datagram *found = bpf_map_lookup_elem(&datagrams, &thread);

	if (!found)
		return false;
	*datagram = *found;
	bpf_map_delete_elem(&datagrams, &thread);
	return true;
}

#endif
