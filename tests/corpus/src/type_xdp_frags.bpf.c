// feature: XDP programs of packets in pieces
// since: 5.18
#include "corpus.h"

SEC("xdp.frags") int frags(struct xdp_md *ctx) { return XDP_PASS; }
