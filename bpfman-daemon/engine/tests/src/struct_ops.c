// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A congestion control algorithm of TCP, whose structure has the members that it uses, in an order of its own.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct sock;

struct tcp_congestion_ops {
	char name[16];
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*ssthresh)(struct sock *sk);
	void (*init)(struct sock *sk);
	void *owner;
};

/* Number of connections that took the algorithm. */
__u64 taken;

SEC("struct_ops")
void take(__u64 *ctx)
{
	__sync_fetch_and_add(&taken, 1);
}

SEC("struct_ops/steady_threshold")
__u32 threshold(__u64 *ctx)
{
	return 2;
}

SEC("struct_ops/steady_window")
__u32 window(__u64 *ctx)
{
	return 10;
}

SEC("struct_ops/steady_grow")
void grow(__u64 *ctx)
{
}

SEC(".struct_ops.link")
struct tcp_congestion_ops steady = {
	.name = "bpfman_steady",
	.init = (void *)take,
	.ssthresh = (void *)threshold,
	.undo_cwnd = (void *)window,
	.cong_avoid = (void *)grow,
};

char _license[] SEC("license") = "GPL";
