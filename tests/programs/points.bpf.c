// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs of types without numbers in bpfman.v1, in one object like a user's.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

/* Lists processes, with a byte that would clear a terminal. */
SEC("iter/task")
int processes(struct bpf_iter__task *ctx)
{
	static const char line[] = "process %d", clear[] = "\033[2J\n";
	struct task_struct *task = ctx->task;
	__u64 number;

	if (!task)
		return 0;
	number = task->tgid;
	bpf_seq_printf(ctx->meta->seq, line, sizeof(line), &number, sizeof(number));
	bpf_seq_write(ctx->meta->seq, clear, sizeof(clear) - 1);
	return 0;
}

SEC("cgroup/connect4")
int forbid(struct bpf_sock_addr *address)
{
	return 0;
}

SEC("perf_event")
int tick(void *ctx)
{
	return 0;
}

SEC("raw_tp/sys_enter")
int entered(void *ctx)
{
	return 0;
}

/* Lets the kernel choose. */
SEC("sk_lookup")
int choose(struct bpf_sk_lookup *ctx)
{
	return SK_PASS;
}

/* NF_ACCEPT */
SEC("netfilter")
int accept(void *ctx)
{
	return 1;
}

SEC("kprobe.multi/tcp_*")
int many(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
