// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Reads a field that no kernel has, without a check that it exists.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int tgid;
	int of_no_kernel;
} __attribute__((preserve_access_index));

SEC("tp/sched/sched_switch")
int trace_missing(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, tgid) + BPF_CORE_READ(task, of_no_kernel) ? 0 : 1;
}

char _license[] SEC("license") = "GPL";
