// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A TC member that allocates an object of its own type and frees it (Linux 6.4 and later): the type's number is in an
// instruction, and no map knows the type.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern void *bpf_obj_new_impl(__u64 local_type_id, void *meta) __ksym;
extern void bpf_obj_drop_impl(void *object, void *meta) __ksym;

struct kept {
	__u64 length;
};

__u64 lengths;

SEC("tc")
int allocates(struct __sk_buff *skb)
{
	struct kept *kept = bpf_obj_new_impl(bpf_core_type_id_local(struct kept), NULL);

	if (!kept)
		return TC_ACT_SHOT;
	kept->length = skb->len;
	lengths += kept->length;
	bpf_obj_drop_impl(kept, NULL);
	return TC_ACT_PIPE;
}

SEC("tc")
int goes_on(struct __sk_buff *skb)
{
	return TC_ACT_PIPE;
}

SEC("tc")
int redirects(struct __sk_buff *skb)
{
	return TC_ACT_REDIRECT;
}

char _license[] SEC("license") = "GPL";
