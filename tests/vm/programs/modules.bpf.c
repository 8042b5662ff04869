// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Types and functions of kernel modules: of veth, and of nf_conntrack for XDP (Linux 5.18 and later).
#include "calls.h"
#include <bpf/bpf_core_read.h>

// This type exists in the module only, not in the kernel itself.
struct veth_priv {
	unsigned int requested_headroom;
} __attribute__((preserve_access_index));

struct nf_conn;
struct ct_options {
	__s32 netns_id;
	__s32 error;
	__u8 protocol;
	__u8 dir;
	__u8 reserved[2];
};
extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size,
					 struct ct_options *options, __u32 options_size) __ksym;
extern void bpf_ct_release(struct nf_conn *connection) __ksym;

SEC("fentry/veth_xmit") int BPF_PROG(enters_module) { return count(bpf_core_type_exists(struct veth_priv)); }
SEC("fexit/veth_xmit") int BPF_PROG(leaves_module, void *skb, void *dev, int returned) { return count(returned); }

SEC("tracepoint/syscalls/sys_enter_mkdirat") int asks_for_a_type(void *ctx)
{
	return count(bpf_core_field_offset(struct veth_priv, requested_headroom) > 0);
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} looked_up SEC(".maps");

SEC("xdp") int asks_conntrack(struct xdp_md *ctx)
{
	struct ct_options options = { .netns_id = -1, .protocol = 6 };
	struct bpf_sock_tuple tuple = {};
	struct nf_conn *connection;
	__u32 zero = 0;
	__u64 *times = bpf_map_lookup_elem(&looked_up, &zero);

	connection = bpf_xdp_ct_lookup(ctx, &tuple, sizeof(tuple.ipv4), &options, sizeof(options));
	if (connection)
		bpf_ct_release(connection);
	// -ENOENT: the function ran, and found no such connection.
	else if (times && options.error == -2)
		__sync_fetch_and_add(times, 1);
	return XDP_PASS;
}
