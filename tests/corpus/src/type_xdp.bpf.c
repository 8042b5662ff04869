// feature: XDP programs
// since: 5.10
#include "corpus.h"

SEC("xdp") int plain(struct xdp_md *ctx) { return ctx->data_end - ctx->data > 40 ? XDP_PASS : XDP_DROP; }
