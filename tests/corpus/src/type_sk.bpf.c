// feature: programs of sockmaps, of lookups and of groups of sockets
// since: 5.10
#include "corpus.h"

SEC("sk_skb/stream_parser") int parser(struct __sk_buff *skb) { return skb->len; }
SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *skb) { return SK_PASS; }
SEC("sk_skb") int either(struct __sk_buff *skb) { return SK_PASS; }
SEC("sk_msg") int message(struct sk_msg_md *ctx) { return SK_PASS; }
SEC("sk_lookup") int lookup(struct bpf_sk_lookup *ctx) { return ctx->local_port == 7 ? SK_DROP : SK_PASS; }
SEC("sk_reuseport") int reuse(struct sk_reuseport_md *ctx) { return SK_PASS; }
