// feature: netfilter programs
// since: 6.4
#include "corpus.h"

struct bpf_nf_ctx { const void *state; const void *skb; } __core;
SEC("netfilter") int judge(struct bpf_nf_ctx *ctx) { return 1; }
