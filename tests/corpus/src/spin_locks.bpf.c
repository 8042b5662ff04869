// feature: locks and timers in values of maps
// since: 5.15
#include "corpus.h"

struct value { struct bpf_spin_lock lock; int count; struct bpf_timer timer; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, struct value); } values SEC(".maps");
static int expired(void *map, int *key, struct value *value) { return 0; }
SEC("tc") int counts(struct __sk_buff *skb)
{
	int key = 0, count;
	struct value *value = bpf_map_lookup_elem(&values, &key);
	if (!value)
		return -1;
	bpf_spin_lock(&value->lock);
	count = ++value->count;
	bpf_spin_unlock(&value->lock);
	bpf_timer_init(&value->timer, &values, 1 /* CLOCK_MONOTONIC */);
	bpf_timer_set_callback(&value->timer, expired);
	return count;
}
