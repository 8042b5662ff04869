// feature: programs that are not loaded unless asked for
// since: 5.10
#include "corpus.h"

SEC("?tc") int quiet(struct __sk_buff *skb) { return 7; }
SEC("?xdp") int quiet_too(struct xdp_md *ctx) { return XDP_PASS; }
