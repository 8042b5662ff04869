// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs that a kernel loads as they are, or in another form if it lacks a feature.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define STORE_AT(bytes) asm volatile("*(u64 *)(r10 - " #bytes ") = %0" ::"r"(0ULL))

/* 400 and 112 bytes fill the stack of 512, if frames are not rounded up to 32 bytes. */
SEC("xdp")
int wide(struct xdp_md *ctx)
{
	STORE_AT(400);
	return XDP_PASS;
}

static __attribute__((noinline)) int below(void)
{
	STORE_AT(112);
	return XDP_PASS;
}

SEC("xdp")
int deep(struct xdp_md *ctx)
{
	return below();
}

/* Its first exit is further from its end than a jump with a 16-bit offset can reach. */
SEC("xdp")
__attribute__((naked)) int far(struct xdp_md *ctx)
{
	asm volatile("r2 = *(u32 *)(r1 + 12)\n" /* the interface it came by */
		     "if r2 != 77 goto +2\n"
		     "r0 = 1\n"
		     "exit\n"
		     ".rept 33000\n"
		     "r0 = 2\n"
		     ".endr\n"
		     "exit");
}

extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash, int *kind) __ksym;

SEC("xdp")
int asks_driver(struct xdp_md *ctx)
{
	__u32 hash = 0;
	int kind = 0;

	bpf_xdp_metadata_rx_hash(ctx, &hash, &kind);
	return XDP_PASS;
}

SEC("kprobe/do_nothing")
int probes_kernel(void *ctx)
{
	return 0;
}

#define TYPE_TAG __attribute__((btf_type_tag("user")))
#define DECL_TAG __attribute__((btf_decl_tag("tagged")))

struct of_many_kinds {
	float floating;
	char eight[8];
	int TYPE_TAG *pointer;
	int tagged DECL_TAG;
};

struct of_many_kinds kinds;

SEC("xdp")
int many_kinds(struct xdp_md *ctx)
{
	return kinds.tagged ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
