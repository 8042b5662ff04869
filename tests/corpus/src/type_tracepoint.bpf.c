// feature: trace points, plain, raw and by their types
// since: 5.10
#include "corpus.h"

struct pt_regs;
SEC("tracepoint/sched/sched_switch") int full(void *ctx) { return 0; }
SEC("tp/sched/sched_switch") int brief(void *ctx) { return 0; }
SEC("raw_tracepoint/sched_switch") int raw_full(struct bpf_raw_tracepoint_args *ctx) { return 0; }
SEC("raw_tp/sched_switch") int raw(struct bpf_raw_tracepoint_args *ctx) { return ctx->args[0] == 1; }
SEC("raw_tracepoint") int untold(struct bpf_raw_tracepoint_args *ctx) { return 0; }
