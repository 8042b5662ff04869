// feature: iterators that may sleep
// since: 6.1
#include "corpus.h"

struct bpf_iter__task { void *meta; void *task; } __core;
SEC("iter.s/task") int tasks(struct bpf_iter__task *ctx) { return 0; }
