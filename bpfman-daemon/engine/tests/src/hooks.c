// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// One program for each hook of cgroups, which allows everything and counts its runs.
#include "runs.h"

#define HOOK(slot, name)              \
	SEC("cgroup/" #name)          \
	int at_##name(void *ctx)      \
	{                             \
		count(slot);          \
		return 1;             \
	}

SEC("cgroup_skb/ingress")
int at_ingress(struct __sk_buff *skb)
{
	count(0);
	return 1;
}

HOOK(1, sock_release)
HOOK(2, post_bind4)
HOOK(3, post_bind6)
HOOK(4, bind4)
HOOK(5, bind6)
HOOK(6, connect6)
HOOK(7, sendmsg4)
HOOK(8, sendmsg6)
HOOK(9, recvmsg4)
HOOK(10, recvmsg6)
HOOK(11, getpeername4)
HOOK(12, getpeername6)
HOOK(13, getsockname4)
HOOK(14, getsockname6)
HOOK(15, getsockopt)
HOOK(16, connect_unix)
HOOK(17, sendmsg_unix)
HOOK(18, recvmsg_unix)
HOOK(19, getpeername_unix)
HOOK(20, getsockname_unix)

char _license[] SEC("license") = "GPL";
