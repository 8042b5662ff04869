// feature: XDP programs that run after a redirect
// since: 5.10
#include "corpus.h"

SEC("xdp/devmap") int devmap(struct xdp_md *ctx) { return ctx->egress_ifindex ? XDP_PASS : XDP_DROP; }
SEC("xdp/cpumap") int cpumap(struct xdp_md *ctx) { return XDP_PASS; }
