// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members at the limits of the stack: 512 bytes and eight frames.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 sums[4];

static __always_inline __u64 fill(volatile __u64 *words, __u32 count, __u64 from)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < count; i++)
		words[i] = from + i;
	for (__u32 i = 0; i < count; i++)
		sum += words[i];
	return sum;
}

SEC("xdp")
int frame_of_480(struct xdp_md *ctx)
{
	volatile __u64 words[60];

	sums[0] += fill(words, 60, ctx->data_end - ctx->data);
	return XDP_PASS;
}

SEC("xdp")
int frame_of_512(struct xdp_md *ctx)
{
	__u64 length = ctx->data_end - ctx->data, found;

	// Assembler, since the compiler would need stack of its own beside an array of 512 bytes.
	asm volatile("*(u64 *)(r10 - 512) = %1; *(u64 *)(r10 - 8) = %1; %0 = *(u64 *)(r10 - 512)"
		     : "=r"(found)
		     : "r"(length)
		     : "memory");
	sums[1] += found;
	return sums[1] & 1 ? XDP_DROP : XDP_PASS;
}

static __attribute__((noinline)) __u64 leaf_of_300(__u64 from)
{
	volatile __u64 words[38];

	return fill(words, 38, from);
}

SEC("xdp")
int deep_leaf(struct xdp_md *ctx)
{
	sums[2] += leaf_of_300(ctx->data_end - ctx->data);
	return XDP_PASS;
}

#define LEVEL(name, next)                                              \
	static __attribute__((noinline)) int name(struct xdp_md *ctx) \
	{                                                              \
		sums[3]++;                                             \
		return next(ctx) + 1;                                  \
	}

static __attribute__((noinline)) int level_7(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

LEVEL(level_6, level_7)
LEVEL(level_5, level_6)
LEVEL(level_4, level_5)
LEVEL(level_3, level_4)
LEVEL(level_2, level_3)
LEVEL(level_1, level_2)

// Eight frames, including the entry's: the kernel's maximum.
SEC("xdp")
int eight_frames(struct xdp_md *ctx)
{
	return level_1(ctx) & 1 ? XDP_PASS : XDP_TX;
}

char _license[] SEC("license") = "GPL";
