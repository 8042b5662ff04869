// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members with exits that would end a whole chain: tail calls and exceptions.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} jumps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} nowhere SEC(".maps");

__u64 before, behind;

extern void bpf_throw(__u64 cookie) __ksym;

// The test puts a program that drops into `jumps`.
SEC("xdp")
int jump_from_entry(struct xdp_md *ctx)
{
	before++;
	bpf_tail_call(ctx, &jumps, 0);
	behind++;
	return XDP_PASS;
}

SEC("xdp")
int jump_to_nothing(struct xdp_md *ctx)
{
	before++;
	bpf_tail_call(ctx, &nowhere, 0);
	behind++;
	return XDP_PASS;
}

static __attribute__((noinline)) int jump(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 0);
	return XDP_TX;
}

// The tail call ends the function alone: the member continues with the other program's result.
SEC("xdp")
int jump_from_function(struct xdp_md *ctx)
{
	int verdict = jump(ctx);

	behind += verdict;
	return verdict == XDP_DROP ? XDP_PASS : XDP_ABORTED;
}

// Frames above a tail call may take 255 bytes.
SEC("xdp")
int jump_below_large_frame(struct xdp_md *ctx)
{
	volatile __u64 words[25];
	int verdict;

	for (int i = 0; i < 25; i++)
		words[i] = i;
	verdict = jump(ctx);
	behind += words[verdict & 15];
	return XDP_PASS;
}

SEC("xdp")
int throw_from_entry(struct xdp_md *ctx)
{
	before++;
	if ((ctx->data_end - ctx->data) & 1)
		bpf_throw(XDP_DROP);
	behind++;
	return XDP_PASS;
}

// Names the callback whose result is a program's verdict when the program throws. No function calls callbacks.
#define __exception_cb(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

__attribute__((noinline)) int caught_to_pass(__u64 cookie)
{
	behind += cookie;
	return XDP_PASS;
}

__attribute__((noinline)) int caught_to_drop(__u64 cookie)
{
	behind += cookie;
	return XDP_DROP;
}

SEC("xdp")
__exception_cb(caught_to_pass)
int throw_and_pass(struct xdp_md *ctx)
{
	before++;
	if ((ctx->data_end - ctx->data) & 1)
		bpf_throw(3);
	return XDP_TX;
}

SEC("xdp")
__exception_cb(caught_to_drop)
int throw_and_drop(struct xdp_md *ctx)
{
	before++;
	if ((ctx->data_end - ctx->data) & 4)
		bpf_throw(5);
	return XDP_PASS;
}

// Never throws: the callback alone prevents the program from being joined.
SEC("xdp")
__exception_cb(caught_to_drop)
int catch_nothing(struct xdp_md *ctx)
{
	before++;
	return XDP_PASS;
}

static __attribute__((noinline)) int checked(struct xdp_md *ctx)
{
	if ((ctx->data_end - ctx->data) & 2)
		bpf_throw(XDP_PASS);
	return XDP_TX;
}

SEC("xdp")
int throw_from_function(struct xdp_md *ctx)
{
	before++;
	if (checked(ctx) != XDP_TX)
		return XDP_ABORTED;
	behind++;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
