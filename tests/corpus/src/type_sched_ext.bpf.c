// feature: tables of functions of the kernel: schedulers (sched_ext), with functions that may sleep
// since: 6.13
// built-in: sched_ext_ops
// together: yes
#include "corpus.h"

struct task_struct;
struct sched_ext_ops {
	void (*enqueue)(struct task_struct *p, unsigned long long flags);
	int (*init)(void);
	char name[128];
} __core;
extern void scx_bpf_dsq_insert(struct task_struct *p, unsigned long long queue, unsigned long long slice, unsigned long long flags) __ksym __weak;
SEC("struct_ops/corpus_enqueue") void BPF_PROG(corpus_enqueue, struct task_struct *p, unsigned long long flags)
{
	/* SCX_DSQ_GLOBAL, SCX_SLICE_DFL */
	scx_bpf_dsq_insert(p, 0x8000000000000001ULL, 20000000, flags);
}
SEC("struct_ops.s/corpus_init") int BPF_PROG(corpus_init) { return 0; }
SEC(".struct_ops.link") struct sched_ext_ops corpus = {
	.enqueue = (void *)corpus_enqueue,
	.init = (void *)corpus_init,
	.name = "corpus",
};
