// feature: iterators
// since: 5.10
#include "corpus.h"

struct bpf_iter_meta { void *seq; unsigned long long seq_num; } __core;
struct task_struct { int pid; } __core;
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } __core;
struct bpf_iter__bpf_map { struct bpf_iter_meta *meta; void *map; } __core;
SEC("iter/task") int tasks(struct bpf_iter__task *ctx)
{
	static const char line[] = "%d\n";
	struct task_struct *task = ctx->task;
	unsigned long long pid;
	if (!task)
		return 0;
	pid = task->pid;
	bpf_seq_printf(ctx->meta->seq, line, sizeof(line), &pid, sizeof(pid));
	return 0;
}
SEC("iter/bpf_map") int maps(struct bpf_iter__bpf_map *ctx) { return 0; }
