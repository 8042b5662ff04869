// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members that loop by may_goto (a budget in the frame, Linux 6.9), an iterator (6.4), a callback for each entry.
// Newer headers declare `struct bpf_iter_num` themselves: rename theirs.
#define bpf_iter_num bpf_iter_num_of_headers
#include <linux/bpf.h>
#undef bpf_iter_num
#include <bpf/bpf_helpers.h>

struct bpf_iter_num {
	__u64 opaque[1];
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

// The instruction may_goto: jumps out when the budget is used up.
#define may_break                                                                              \
	({                                                                                     \
		__label__ out, on;                                                             \
		asm volatile goto("1: .byte 0xe5; .byte 0;"                                    \
				  ".long ((%l[out] - 1b - 8) / 8) & 0xffff;"                   \
				  ".short 0" ::::out);                                         \
		goto on;                                                                       \
	out:                                                                                   \
		break;                                                                         \
	on:;                                                                                   \
	})

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} turns SEC(".maps");

__u64 visited;

static __always_inline void add(__u32 which, __u64 many)
{
	__u64 *count = bpf_map_lookup_elem(&turns, &which);

	if (count)
		*count += many;
}

// Runs until the budget is used up: about eight million iterations.
SEC("xdp")
int loop_to_the_end(struct xdp_md *ctx)
{
	__u64 count = 0;

	for (;;) {
		may_break;
		count++;
	}
	add(0, count);
	return XDP_PASS;
}

SEC("xdp")
int loop_a_little(struct xdp_md *ctx)
{
	__u64 count = 0, limit = (ctx->data_end - ctx->data) & 0xff;

	for (; count < limit; count++)
		may_break;
	add(1, count);
	return count == limit ? XDP_PASS : XDP_DROP;
}

static __attribute__((noinline)) __u64 counted(__u64 limit)
{
	__u64 count = 0;

	for (; count < limit; count++)
		may_break;
	return count;
}

SEC("xdp")
int loop_in_function(struct xdp_md *ctx)
{
	add(2, counted(ctx->data_end - ctx->data));
	return XDP_PASS;
}

SEC("xdp")
int iterate(struct xdp_md *ctx)
{
	struct bpf_iter_num it;
	__u64 sum = 0;
	int *number;

	bpf_iter_num_new(&it, 3, (ctx->data_end - ctx->data) & 0xff);
	while ((number = bpf_iter_num_next(&it)))
		sum += *number;
	bpf_iter_num_destroy(&it);
	add(3, sum);
	return sum & 1 ? XDP_PASS : XDP_TX;
}

struct bpf_map;

static long visit(struct bpf_map *map, __u32 *key, __u64 *value, void *ctx)
{
	visited += *value * (*key + 1);
	return 0;
}

SEC("xdp")
int for_each_entry(struct xdp_md *ctx)
{
	bpf_for_each_map_elem(&turns, visit, 0, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
