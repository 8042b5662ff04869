// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// TC members that allocate objects of their own types and keep them in lists, trees and maps (Linux 6.4 and later).
// Newer headers declare these structs themselves: rename theirs.
#define bpf_list_head bpf_list_head_of_headers
#define bpf_list_node bpf_list_node_of_headers
#define bpf_rb_root bpf_rb_root_of_headers
#define bpf_rb_node bpf_rb_node_of_headers
#include <linux/bpf.h>
#undef bpf_list_head
#undef bpf_list_node
#undef bpf_rb_root
#undef bpf_rb_node
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct bpf_list_head {
	__u64 : 64;
	__u64 : 64;
} __attribute__((aligned(8)));

struct bpf_list_node {
	__u64 : 64;
	__u64 : 64;
	__u64 : 64;
} __attribute__((aligned(8)));

struct bpf_rb_root {
	__u64 : 64;
	__u64 : 64;
} __attribute__((aligned(8)));

struct bpf_rb_node {
	__u64 : 64;
	__u64 : 64;
	__u64 : 64;
	__u64 : 64;
} __attribute__((aligned(8)));

#define __contains(type, node) __attribute__((btf_decl_tag("contains:" #type ":" #node)))

extern void *bpf_obj_new_impl(__u64 local_type_id, void *meta) __ksym;
extern void bpf_obj_drop_impl(void *object, void *meta) __ksym;
extern int bpf_list_push_back_impl(struct bpf_list_head *head, struct bpf_list_node *node, void *meta,
				   __u64 off) __ksym;
extern struct bpf_list_node *bpf_list_pop_front(struct bpf_list_head *head) __ksym;
extern int bpf_rbtree_add_impl(struct bpf_rb_root *root, struct bpf_rb_node *node,
			       _Bool (*less)(struct bpf_rb_node *a, const struct bpf_rb_node *b), void *meta,
			       __u64 off) __ksym;
extern struct bpf_rb_node *bpf_rbtree_first(struct bpf_rb_root *root) __ksym;
extern struct bpf_rb_node *bpf_rbtree_remove(struct bpf_rb_root *root, struct bpf_rb_node *node) __ksym;

#define container(pointer, type, member) ((type *)((void *)(pointer)-__builtin_offsetof(type, member)))
#define bpf_obj_new(type) ((type *)bpf_obj_new_impl(bpf_core_type_id_local(type), NULL))

struct item {
	__u64 length;
	struct bpf_list_node node;
};

struct leaf {
	__u64 key;
	struct bpf_rb_node node;
};

struct kept {
	__u64 length;
};

struct queue {
	struct bpf_spin_lock lock;
	struct bpf_list_head head __contains(item, node);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct queue);
} queues SEC(".maps");

struct tree {
	struct bpf_spin_lock lock;
	struct bpf_rb_root root __contains(leaf, node);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tree);
} trees SEC(".maps");

// The test turns this name into a type tag, for a map's pointer to an object that the program allocated.
typedef struct kept kptr;

struct holder {
	__u64 count;
	kptr *kept;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct holder);
} holders SEC(".maps");

__u64 popped, smallest, held;

// Allocates and frees: the type's number is in an instruction, no map knows the type.
SEC("tc")
int make_object(struct __sk_buff *skb)
{
	struct kept *kept = bpf_obj_new(struct kept);

	if (!kept)
		return TC_ACT_SHOT;
	kept->length = skb->len;
	held += kept->length;
	bpf_obj_drop_impl(kept, NULL);
	return TC_ACT_PIPE;
}

SEC("tc")
int push_to_list(struct __sk_buff *skb)
{
	struct queue *queue;
	struct item *item;
	__u32 key = 0;

	queue = bpf_map_lookup_elem(&queues, &key);
	if (!queue)
		return TC_ACT_SHOT;
	item = bpf_obj_new(struct item);
	if (!item)
		return TC_ACT_SHOT;
	item->length = skb->len;
	bpf_spin_lock(&queue->lock);
	bpf_list_push_back_impl(&queue->head, &item->node, NULL, 0);
	bpf_spin_unlock(&queue->lock);
	return TC_ACT_PIPE;
}

// Has no type id in an instruction: the map alone refers to the types of the program's own BTF.
SEC("tc")
int pop_from_list(struct __sk_buff *skb)
{
	struct bpf_list_node *node;
	struct queue *queue;
	struct item *item;
	__u32 key = 0;

	queue = bpf_map_lookup_elem(&queues, &key);
	if (!queue)
		return TC_ACT_SHOT;
	bpf_spin_lock(&queue->lock);
	node = bpf_list_pop_front(&queue->head);
	bpf_spin_unlock(&queue->lock);
	if (!node)
		return TC_ACT_OK;
	item = container(node, struct item, node);
	popped += item->length;
	bpf_obj_drop_impl(item, NULL);
	return TC_ACT_PIPE;
}

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container(a, struct leaf, node)->key < container(b, struct leaf, node)->key;
}

SEC("tc")
int add_to_tree(struct __sk_buff *skb)
{
	struct bpf_rb_node *first;
	struct tree *tree;
	struct leaf *leaf;
	__u32 key = 0;

	tree = bpf_map_lookup_elem(&trees, &key);
	if (!tree)
		return TC_ACT_SHOT;
	leaf = bpf_obj_new(struct leaf);
	if (!leaf)
		return TC_ACT_SHOT;
	leaf->key = skb->mark & 0xff;
	bpf_spin_lock(&tree->lock);
	bpf_rbtree_add_impl(&tree->root, &leaf->node, less, NULL, 0);
	first = bpf_rbtree_first(&tree->root);
	if (!first) {
		bpf_spin_unlock(&tree->lock);
		return TC_ACT_SHOT;
	}
	first = bpf_rbtree_remove(&tree->root, first);
	bpf_spin_unlock(&tree->lock);
	if (!first)
		return TC_ACT_SHOT;
	leaf = container(first, struct leaf, node);
	smallest += leaf->key;
	bpf_obj_drop_impl(leaf, NULL);
	return TC_ACT_PIPE;
}

// Puts an object into a map and takes out the one before.
SEC("tc")
int exchange(struct __sk_buff *skb)
{
	struct kept *kept, *old;
	struct holder *holder;
	__u32 key = 0;

	holder = bpf_map_lookup_elem(&holders, &key);
	if (!holder)
		return TC_ACT_SHOT;
	kept = bpf_obj_new(struct kept);
	if (!kept)
		return TC_ACT_SHOT;
	kept->length = skb->len;
	old = bpf_kptr_xchg(&holder->kept, kept);
	if (old) {
		holder->count += old->length;
		bpf_obj_drop_impl(old, NULL);
	}
	return TC_ACT_PIPE;
}

char _license[] SEC("license") = "GPL";
