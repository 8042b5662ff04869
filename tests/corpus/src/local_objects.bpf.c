// feature: objects that programs allocate, lists of them
// since: 6.3
#include "corpus.h"

struct bpf_list_head { unsigned long long a, b; } __attribute__((aligned(8)));
struct bpf_list_node { unsigned long long a, b, c; } __attribute__((aligned(8)));
struct node { long data; struct bpf_list_node link; };
#define __contains(name, node) __attribute__((btf_decl_tag("contains:" #name ":" #node)))
#define private(name) SEC(".data." #name) __attribute__((visibility("hidden"), aligned(8)))
extern void *bpf_obj_new_impl(__u64 local_type_id, void *meta) __ksym;
extern void bpf_obj_drop_impl(void *object, void *meta) __ksym;
private(A) struct bpf_spin_lock lock;
private(A) struct bpf_list_head head __contains(node, link);
SEC("tc") int allocates(struct __sk_buff *skb)
{
	struct node *node = bpf_obj_new_impl(bpf_core_type_id_local(struct node), 0);
	if (!node)
		return 1;
	node->data = 77;
	long data = node->data;
	bpf_obj_drop_impl(node, 0);
	return data;
}
