// feature: XDP programs of packets in pieces
// since: 5.18
#include "corpus.h"

SEC("xdp.frags") int frags(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp.frags/devmap") int frags_devmap(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp.frags/cpumap") int frags_cpumap(struct xdp_md *ctx) { return XDP_PASS; }
