// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Destination of a socket. IPv4 addresses are mapped to IPv6: ::ffff:192.0.2.1.
#ifndef EXAMPLES_DESTINATION_H
#define EXAMPLES_DESTINATION_H

#include <linux/bpf.h>
#include <linux/in6.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common {
	__u16 skc_family;
	__be16 skc_dport;
	__be32 skc_daddr;
	struct in6_addr skc_v6_daddr;
};
struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
};
#pragma clang attribute pop

static __always_inline void map_v4(struct in6_addr *address, __be32 v4)
{
	__be32 *words = address->in6_u.u6_addr32;

	words[0] = words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = v4;
}

// Returns the port, or 0 if the family is neither IPv4 nor IPv6.
static __always_inline __u16 tell_destination(struct sock *socket, struct in6_addr *address)
{
	__u16 family = BPF_CORE_READ(socket, __sk_common.skc_family);

	if (family == AF_INET)
		map_v4(address, BPF_CORE_READ(socket, __sk_common.skc_daddr));
	else if (family == AF_INET6)
		BPF_CORE_READ_INTO(address, socket, __sk_common.skc_v6_daddr);
	else
		return 0;
	return bpf_ntohs(BPF_CORE_READ(socket, __sk_common.skc_dport));
}

#endif
