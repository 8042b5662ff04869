// feature: unknown sections: a program is what it is declared as
// since: 5.10
#include "corpus.h"

SEC("xdp_sock") int hands_on(struct xdp_md *ctx) { return XDP_PASS; }
SEC("filter") int takes_eight(struct __sk_buff *skb) { return 8; }
