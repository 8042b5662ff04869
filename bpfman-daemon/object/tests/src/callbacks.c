// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Function pointers, functions that call functions, and one that is called twice.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static long step(__u32 index, void *data)
{
	*(__u64 *)data += index;
	return 0;
}

static __attribute__((noinline)) int leaf(int value)
{
	return value * 3 + (int)bpf_get_prandom_u32();
}

static __attribute__((noinline)) int middle(int value)
{
	return leaf(value) + leaf(value + 1);
}

__attribute__((noinline)) int outside(int value)
{
	return middle(value) ^ leaf(7);
}

__attribute__((visibility("hidden"), noinline)) int concealed(int value)
{
	return value + (int)bpf_get_prandom_u32();
}

SEC("tc")
int loops(struct __sk_buff *skb)
{
	__u64 sum = 0;

	bpf_loop(10, step, &sum, 0);
	return outside((int)sum) + concealed(3) + middle(1);
}

SEC("tc")
int other(struct __sk_buff *skb)
{
	return leaf(1);
}

char _license[] SEC("license") = "GPL";
