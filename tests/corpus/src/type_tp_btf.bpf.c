// feature: trace points by their types
// since: 5.10
#include "corpus.h"

struct task_struct { int pid; } __core;
SEC("tp_btf/sched_switch") int BPF_PROG(switches, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return prev->pid == next->pid;
}
