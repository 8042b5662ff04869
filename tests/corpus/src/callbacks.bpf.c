// feature: functions as callbacks
// since: 5.17
#include "corpus.h"

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 5); __type(key, int); __type(value, int); } values SEC(".maps");
static long add(void *map, int *key, int *value, int *sum) { *sum += *key; return 0; }
static long twice(unsigned int index, int *sum) { *sum += 2; return 0; }
SEC("tc") int walks(struct __sk_buff *skb)
{
	int sum = 0;
	bpf_for_each_map_elem(&values, add, &sum, 0);
	bpf_loop(4, twice, &sum, 0);
	return sum;
}
