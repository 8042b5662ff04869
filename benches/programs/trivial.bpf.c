// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// The smallest program of each type that still does something: it counts, and lets everything pass.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} count SEC(".maps");

static __always_inline void add_one(void)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&count, &key);

	if (value)
		*value += 1;
}

SEC("xdp")
int xdp_trivial(struct xdp_md *ctx)
{
	add_one();
	return XDP_PASS;
}

// The verifier cannot know this verdict: it is read from the packet's length, and always PASS in the benchmark.
SEC("xdp")
int xdp_unknown(struct xdp_md *ctx)
{
	add_one();
	return (ctx->data_end - ctx->data) > 8 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int xdp_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("tcx/ingress")
int tcx_trivial(struct __sk_buff *ctx)
{
	add_one();
	return -1;
}

SEC("uprobe")
int uprobe_trivial(void *ctx)
{
	add_one();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
