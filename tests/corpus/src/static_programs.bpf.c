// feature: programs that are static functions, which libbpf refuses
// since: 5.10
#include "corpus.h"

SEC("tc") __attribute__((used)) static int hidden(struct __sk_buff *skb) { return 3; }
SEC("xdp") __attribute__((used)) static int hidden_too(struct xdp_md *ctx) { return XDP_PASS; }
