// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// A member whose frame and whose function's frame fill the 512 bytes of stack, alone on any kernel. Eight bytes more
// for the chain make its frame 48 bytes, with 464 of the function, if frames are rounded to 16 bytes (6.12 and later),
// which fits; and 64 with 480 if they are rounded to 32 (6.1), which does not: there the chain must do without.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define OWN 32
#define FUNCTION 464

// Writes its whole frame, so that the compiler keeps it.
static __noinline int deep(long length)
{
	volatile char frame[FUNCTION];

#pragma unroll
	for (int i = 0; i < FUNCTION; i += 8)
		*(volatile long *)(frame + i) = length;
	return frame[FUNCTION - 8] == (char)length;
}

SEC("xdp") int fills_the_stack(struct xdp_md *ctx)
{
	volatile char frame[OWN];

#pragma unroll
	for (int i = 0; i < OWN; i += 8)
		*(volatile long *)(frame + i) = ctx->data_end - ctx->data;
	return deep(*(volatile long *)frame) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
