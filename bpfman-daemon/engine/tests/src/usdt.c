// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Reads the arguments of a USDT probe, by libbpf's header.
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>

/* The last values by number of arguments: that number, and the first two arguments. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, long[3]);
} said SEC(".maps");

SEC("usdt")
int sold(struct pt_regs *ctx)
{
	long values[3] = { bpf_usdt_arg_cnt(ctx) };
	__u32 key = values[0];

	bpf_usdt_arg(ctx, 0, &values[1]);
	bpf_usdt_arg(ctx, 1, &values[2]);
	bpf_map_update_elem(&said, &key, values, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
