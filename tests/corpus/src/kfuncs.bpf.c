// feature: functions of the kernel
// since: 6.4
#include "corpus.h"

struct task_struct { int pid; } __core;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
SEC("tp_btf/task_newtask") int BPF_PROG(holds, struct task_struct *task, unsigned long flags)
{
	struct task_struct *held = bpf_task_acquire(task);
	if (held)
		bpf_task_release(held);
	return 0;
}
