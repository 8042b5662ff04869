// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs that ask for one thing each.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct sock_common {
	unsigned short skc_family;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	int no_such_field;
} __attribute__((preserve_access_index));

SEC("kprobe/tcp_connect")
int reads_a_field(struct pt_regs *ctx)
{
	struct sock *sk = (void *)PT_REGS_PARM1(ctx);

	return BPF_CORE_READ(sk, __sk_common.skc_family);
}

SEC("kprobe/tcp_connect")
int reads_what_is_not_there(struct pt_regs *ctx)
{
	struct sock *sk = (void *)PT_REGS_PARM1(ctx);

	return BPF_CORE_READ(sk, no_such_field);
}

SEC("kprobe/tcp_connect")
int asks_first(struct pt_regs *ctx)
{
	struct sock *sk = (void *)PT_REGS_PARM1(ctx);

	return bpf_core_field_exists(sk->no_such_field) ? BPF_CORE_READ(sk, no_such_field) : 0;
}

struct sock___old {
	int older_field;
} __attribute__((preserve_access_index));

SEC("kprobe/tcp_connect")
int asks_for_the_newer_one(struct pt_regs *ctx)
{
	struct sock *sk = (void *)PT_REGS_PARM1(ctx);
	struct sock___old *old = (void *)sk;

	if (bpf_core_field_exists(sk->__sk_common))
		return BPF_CORE_READ(sk, __sk_common.skc_family);
	return BPF_CORE_READ(old, older_field);
}

struct no_such_type {
	int field;
} __attribute__((preserve_access_index));

SEC("kprobe/tcp_connect")
int asks_for_a_type(struct pt_regs *ctx)
{
	struct no_such_type *of = (void *)PT_REGS_PARM1(ctx);

	return bpf_core_type_exists(struct no_such_type) ? BPF_CORE_READ(of, field) : 0;
}

SEC("kprobe/tcp_connect")
int reads_at_a_fixed_offset(struct pt_regs *ctx)
{
	unsigned short family = 0;

	bpf_probe_read_kernel(&family, sizeof(family), (char *)PT_REGS_PARM1(ctx) + 16);
	return family;
}

extern void bpf_no_such_function(void) __ksym;
extern void bpf_maybe_no_such_function(void) __ksym __weak;

SEC("tp_btf/sched_switch")
int calls_what_is_not_there(void *ctx)
{
	bpf_no_such_function();
	return 0;
}

SEC("tp_btf/sched_switch")
int calls_if_it_is_there(void *ctx)
{
	if (bpf_maybe_no_such_function)
		bpf_maybe_no_such_function();
	return 0;
}

SEC("xdp.frags")
int sends_events(struct xdp_md *ctx)
{
	void *event = bpf_ringbuf_reserve(&events, 8, 0);

	if (event)
		bpf_ringbuf_submit(event, 0);
	return XDP_PASS;
}

SEC("?lsm.s/file_open")
int only_if_asked_for(void *ctx)
{
	return 0;
}

SEC("fsession/vfs_read")
int for_nobody(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
