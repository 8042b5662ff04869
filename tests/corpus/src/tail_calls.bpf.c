// feature: tail calls by an array that is filled at the beginning
// since: 5.10
// together: yes
#include "corpus.h"

int target(struct __sk_buff *skb);
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps") = { .values = { [2] = (void *)&target } };
SEC("tc") int target(struct __sk_buff *skb) { return 55; }
SEC("tc") int source(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, 2);
	return 1;
}
