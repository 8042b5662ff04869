// feature: pointers to the kernel's objects in maps
// since: 6.4
// clang: 19
#include "corpus.h"

struct task_struct { int pid; } __core;
struct value { struct task_struct __kptr *task; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); __type(value, struct value); } held SEC(".maps");
extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
SEC("tp_btf/task_newtask") int BPF_PROG(keeps, struct task_struct *task, unsigned long flags)
{
	int key = 0;
	struct task_struct *acquired, *old;
	struct value *value = bpf_map_lookup_elem(&held, &key);
	if (!value)
		return 0;
	acquired = bpf_task_acquire(task);
	if (!acquired)
		return 0;
	old = bpf_kptr_xchg(&value->task, acquired);
	if (old)
		bpf_task_release(old);
	return 0;
}
