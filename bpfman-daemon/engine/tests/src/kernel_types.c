// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Types that a simulated kernel has: a struct_ops type, with members that no program of the tests sets.
#include <linux/bpf.h>

struct sock;
struct ack_sample;

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	void (*set_state)(struct sock *sk, __u8 new_state);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*pkts_acked)(struct sock *sk, const struct ack_sample *sample);
	char name[16];
	void *owner;
	void (*init)(struct sock *sk);
	void (*release)(struct sock *sk);
};

struct bpf_struct_ops_tcp_congestion_ops {
	__u32 refcnt;
	__u32 state;
	struct tcp_congestion_ops data __attribute__((aligned(64)));
};

struct bpf_struct_ops_tcp_congestion_ops used;
