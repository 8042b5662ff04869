// feature: maps whose values are told at the beginning
// since: 5.10
#include "corpus.h"

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, int);
} first SEC(".maps"), second SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__type(key, int);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = &first, [3] = &second } };
SEC("tc") int reads(struct __sk_buff *skb)
{
	int key = 3, *value;
	void *inner = bpf_map_lookup_elem(&outer, &key);
	if (!inner)
		return 1;
	key = 0;
	value = bpf_map_lookup_elem(inner, &key);
	return value ? 100 + *value : 2;
}
