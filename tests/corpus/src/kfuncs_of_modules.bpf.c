// feature: functions of modules of the kernel
// since: 5.18
// module: nf_conntrack
#include "corpus.h"

struct nf_conn { int mark; } __core;
struct bpf_ct_opts { int netns_id; int error; unsigned char l4proto; unsigned char dir; unsigned char reserved[2]; };
extern struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, unsigned int tuple_size,
					 struct bpf_ct_opts *opts, unsigned int opts_size) __ksym;
extern void bpf_ct_release(struct nf_conn *ct) __ksym;
SEC("tc") int finds(struct __sk_buff *skb)
{
	struct bpf_ct_opts opts = { .netns_id = -1, .l4proto = 6 };
	struct bpf_sock_tuple tuple = {};
	struct nf_conn *ct = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	if (ct)
		bpf_ct_release(ct);
	return ct ? 1 : 2;
}
