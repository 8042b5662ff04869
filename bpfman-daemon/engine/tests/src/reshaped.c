// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// second.c, with values of the same size that mean something else.
#include <linux/types.h>
struct pair {
	__u32 packets;
	__u32 bytes;
};
#define VALUE struct pair
#include "second.c"
