// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs with valid and invalid exception callbacks.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __exception_cb(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

extern void bpf_throw(__u64 cookie) __ksym;

__u64 caught;

static __attribute__((noinline)) int noted(__u64 cookie)
{
	caught += cookie;
	return XDP_PASS;
}

__attribute__((noinline)) int catcher(__u64 cookie)
{
	return noted(cookie);
}

__attribute__((noinline)) int another(__u64 cookie)
{
	return XDP_DROP;
}

static __attribute__((noinline, used)) int hidden(__u64 cookie)
{
	return XDP_DROP;
}

static __attribute__((noinline)) int thrower(struct xdp_md *ctx)
{
	if (ctx->data_end - ctx->data > 20)
		bpf_throw(5);
	return XDP_TX;
}

SEC("xdp")
__exception_cb(catcher)
int catches(struct xdp_md *ctx)
{
	return thrower(ctx);
}

SEC("xdp")
int catches_nothing(struct xdp_md *ctx)
{
	return thrower(ctx);
}

SEC("xdp")
__exception_cb(catcher)
__exception_cb(another)
int catches_twice(struct xdp_md *ctx)
{
	return thrower(ctx);
}

SEC("xdp")
__exception_cb(hidden)
int catches_by_static(struct xdp_md *ctx)
{
	return thrower(ctx);
}

SEC("xdp")
__exception_cb(nobody)
int catches_by_nobody(struct xdp_md *ctx)
{
	return thrower(ctx);
}

char _license[] SEC("license") = "GPL";
