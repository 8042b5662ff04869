// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A scheduler (sched_ext) that puts every task into the kernel's own global queue, and counts.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct task_struct;

struct sched_ext_ops {
	void (*enqueue)(struct task_struct *p, __u64 flags);
	__s32 (*init)(void);
	char name[128];
};

/* SCX_DSQ_GLOBAL, SCX_SLICE_DFL. */
#define GLOBAL_QUEUE 0x8000000000000001ULL
#define SLICE 20000000

extern void scx_bpf_dsq_insert(struct task_struct *p, __u64 queue, __u64 slice, __u64 flags) __ksym;

/* Tasks that became ready to run. */
__u64 ready;

SEC("struct_ops/plain_enqueue")
void BPF_PROG(enqueue, struct task_struct *p, __u64 flags)
{
	__sync_fetch_and_add(&ready, 1);
	scx_bpf_dsq_insert(p, GLOBAL_QUEUE, SLICE, flags);
}

SEC("struct_ops.s/plain_init")
__s32 BPF_PROG(begin)
{
	return 0;
}

SEC(".struct_ops.link")
struct sched_ext_ops plain = {
	.enqueue = (void *)enqueue,
	.init = (void *)begin,
	.name = "bpfman_plain",
};

char _license[] SEC("license") = "GPL";
