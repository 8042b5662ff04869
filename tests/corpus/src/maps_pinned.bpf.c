// feature: maps that are shared by their names
// since: 5.10
#include "corpus.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, int);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} corpus_shared SEC(".maps");
SEC("tc") int reads(struct __sk_buff *skb)
{
	int key = 1;
	return bpf_map_lookup_elem(&corpus_shared, &key) ? 1 : 2;
}
