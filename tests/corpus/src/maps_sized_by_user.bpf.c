// feature: rings whose sizes are not of pages, and maps of one entry a CPU
// since: 5.10
#include "corpus.h"

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 5000); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(key, int); __type(value, int); } perf SEC(".maps");
SEC("tc") int writes(struct __sk_buff *skb)
{
	long value = 1;
	bpf_perf_event_output(skb, &perf, BPF_F_CURRENT_CPU, &value, sizeof(value));
	return bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE);
}
