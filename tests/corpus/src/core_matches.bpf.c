// feature: types that have to be as the object has them
// since: 5.10
// clang: 19
#include "corpus.h"

struct list_head { struct list_head *next, *prev; } __core;
struct hlist_node___other { int next; } __core;
struct hlist_node { struct hlist_node *next, **pprev; } __core;
SEC("tc") int match(struct __sk_buff *skb)
{
	return bpf_core_type_matches(struct list_head) + 2 * bpf_core_type_matches(struct hlist_node___other)
		+ 4 * bpf_core_type_matches(struct hlist_node) + 8 * bpf_core_type_exists(struct hlist_node___other);
}
