// feature: fields that are moved, by all ways to read them
// since: 5.10
#include "corpus.h"

struct list_head { struct list_head *next, *prev; } __core;
struct task_struct {
	int pid, tgid;
	struct task_struct *real_parent;
	char comm[16];
	unsigned in_execve : 1;
	unsigned sched_reset_on_fork : 1;
	struct list_head tasks;
} __core;
struct task_struct___other { int no_such_field; } __core;
struct no_such_struct { int field; } __core;
SEC("raw_tp/sys_enter") int reads(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	char name[16];
	long sum = BPF_CORE_READ(task, real_parent, real_parent, tgid);
	sum += BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork);
	BPF_CORE_READ_STR_INTO(&name, task, comm);
	sum += name[2];
	sum += bpf_core_field_exists(task->pid) + 2 * bpf_core_field_exists(((struct task_struct___other *)task)->no_such_field);
	sum += bpf_core_field_size(task->comm) + bpf_core_field_offset(task->tasks);
	sum += bpf_core_type_exists(struct task_struct) + 4 * bpf_core_type_exists(struct no_such_struct);
	sum += bpf_core_type_size(struct task_struct) + bpf_core_type_size(struct no_such_struct);
	return sum & 1;
}
SEC("tc") int sizes(struct __sk_buff *skb)
{
	struct task_struct *task = 0;
	return bpf_core_type_size(struct task_struct) * 65536 + bpf_core_field_offset(task->comm) + bpf_core_field_exists(task->pid)
		+ 2 * bpf_core_field_exists(((struct task_struct___other *)task)->no_such_field)
		+ 4 * bpf_core_type_exists(struct no_such_struct);
}
