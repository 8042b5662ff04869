// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A congestion control algorithm, a USDT probe, and a syscall program, which user space runs, as in users'
// objects.
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>

struct sock;

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	char name[16];
};

SEC("struct_ops")
__u32 threshold(__u64 *ctx)
{
	return 2;
}

SEC("struct_ops")
__u32 window(__u64 *ctx)
{
	return 10;
}

SEC("struct_ops")
void grow(__u64 *ctx)
{
}

SEC(".struct_ops.link")
struct tcp_congestion_ops calm = {
	.name = "bpfman_calm",
	.ssthresh = (void *)threshold,
	.undo_cwnd = (void *)window,
	.cong_avoid = (void *)grow,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, long);
} pieces SEC(".maps");

SEC("usdt")
int sold(struct pt_regs *ctx)
{
	__u32 key = 0;
	long piece = 0;

	if (bpf_usdt_arg_cnt(ctx) == 2 && !bpf_usdt_arg(ctx, 0, &piece))
		bpf_map_update_elem(&pieces, &key, &piece, 0);
	return 0;
}

SEC("syscall")
int called(void *ctx)
{
	return 42;
}

char _license[] SEC("license") = "GPL";
