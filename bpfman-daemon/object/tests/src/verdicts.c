// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// The verdict shows the values of global variables of every kind.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u8 padding = 0;
const volatile __u32 constant = 1;
volatile __u16 table[4] = { 10, 20, 30, 40 };
static volatile __u32 internal = 100;
volatile __u64 zeroed;
volatile __u32 extra SEC(".data.extra") = 1000;
const volatile __u32 fixed SEC(".rodata.fixed") = 10000;
static volatile __u32 last;

static __attribute__((noinline)) __u32 low(void)
{
	return padding + constant + table[2];
}

SEC("xdp")
int sum(struct xdp_md *ctx)
{
	return low() + internal + zeroed + extra + fixed + last;
}

char _license[] SEC("license") = "GPL";
