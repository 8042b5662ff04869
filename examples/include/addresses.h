// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// An address of either family in one type, for keys of maps. An IPv4 address is in the first word; the others are zero.
#ifndef ADDRESSES_H
#define ADDRESSES_H

#include <linux/in6.h>
#include <linux/types.h>

struct address {
	__u32 words[4]; // as in a packet
};

static __always_inline struct address address_of_v4(__be32 address)
{
	struct address made = { { address } };

	return made;
}

static __always_inline struct address address_of_v6(const struct in6_addr *address)
{
	struct address made;

	__builtin_memcpy(&made, address, sizeof(made));
	return made;
}

#endif
