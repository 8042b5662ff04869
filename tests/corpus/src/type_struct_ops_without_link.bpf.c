// feature: tables of functions of the kernel that are in use as soon as they are filled
// since: 5.10
// together: yes
#include "corpus.h"

struct sock;
struct tcp_congestion_ops {
	unsigned int (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, unsigned int ack, unsigned int acked);
	unsigned int (*undo_cwnd)(struct sock *sk);
	char name[16];
	unsigned int flags;
} __core;
SEC("struct_ops/plain_ssthresh") unsigned int BPF_PROG(plain_ssthresh, struct sock *sk) { return 10; }
SEC("struct_ops/plain_avoid") void BPF_PROG(plain_avoid, struct sock *sk, unsigned int ack, unsigned int acked) {}
SEC("struct_ops/plain_undo") unsigned int BPF_PROG(plain_undo, struct sock *sk) { return 5; }
SEC(".struct_ops") struct tcp_congestion_ops plain = {
	.ssthresh = (void *)plain_ssthresh,
	.cong_avoid = (void *)plain_avoid,
	.undo_cwnd = (void *)plain_undo,
	.name = "plain",
};
