// feature: names of sections that older libraries take
// since: 5.10
#include "corpus.h"

SEC("xdp/eth0") int at_interface(struct xdp_md *ctx) { return XDP_PASS; }
SEC("classifier/egress") int egress(struct __sk_buff *skb) { return 2; }
SEC("sk_lookup/name") int named(struct bpf_sk_lookup *ctx) { return SK_PASS; }
