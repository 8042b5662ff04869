// feature: tables of functions of the kernel: congestion control of TCP
// since: 6.4
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
SEC("struct_ops/corpus_ssthresh") unsigned int BPF_PROG(corpus_ssthresh, struct sock *sk) { return 10; }
SEC("struct_ops/corpus_avoid") void BPF_PROG(corpus_avoid, struct sock *sk, unsigned int ack, unsigned int acked) {}
SEC("struct_ops/corpus_undo") unsigned int BPF_PROG(corpus_undo, struct sock *sk) { return 5; }
SEC(".struct_ops.link") struct tcp_congestion_ops corpus = {
	.ssthresh = (void *)corpus_ssthresh,
	.cong_avoid = (void *)corpus_avoid,
	.undo_cwnd = (void *)corpus_undo,
	.name = "corpus",
};
