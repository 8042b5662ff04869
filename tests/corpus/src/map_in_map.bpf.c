// feature: maps in maps, empty at first
// since: 5.10
#include "corpus.h"

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(key_size, 4);
	__uint(value_size, 8);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, struct inner);
} outer SEC(".maps");
SEC("tc") int looks(struct __sk_buff *skb)
{
	int key = 1;
	return bpf_map_lookup_elem(&outer, &key) ? 1 : 2;
}
