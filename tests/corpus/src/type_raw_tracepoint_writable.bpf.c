// feature: raw trace points that write
// since: 5.10
#include "corpus.h"

SEC("raw_tp.w/bpf_test_finish") int brief(struct bpf_raw_tracepoint_args *ctx) { return 0; }
SEC("raw_tracepoint.w/bpf_test_finish") int full(struct bpf_raw_tracepoint_args *ctx) { return 0; }
