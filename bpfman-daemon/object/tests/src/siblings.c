// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// One good program among broken ones.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int nowhere_to_be_found(int value);
extern int no_such_kernel_function(int value) __ksym;

struct no_such_kernel_type {
	int field;
} __attribute__((preserve_access_index));

SEC("xdp")
int good(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp/undefined")
int undefined(struct xdp_md *ctx)
{
	return nowhere_to_be_found(1);
}

SEC("xdp/kernel")
int kernel_call(struct xdp_md *ctx)
{
	return no_such_kernel_function(1);
}

SEC("something_else/entirely")
int unknown_section(void *ctx)
{
	return 0;
}

SEC("kprobe.multi/do_*")
int many(void *ctx)
{
	return 0;
}

SEC("xdp/core")
int core(struct no_such_kernel_type *ctx)
{
	return ctx->field;
}

char _license[] SEC("license") = "GPL";
