// feature: samples of performance events
// since: 5.10
#include "corpus.h"

SEC("perf_event") int sample(void *ctx) { return bpf_get_smp_processor_id() == 999; }
