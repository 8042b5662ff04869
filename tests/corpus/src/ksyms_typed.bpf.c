// feature: variables of the kernel by their types
// since: 6.1
#include "corpus.h"

// Types of per-CPU variables: kernels built by older tools lack them.

struct kernel_cpustat { unsigned long long cpustat[10]; } __core;
extern const int bpf_prog_active __ksym;
extern const struct kernel_cpustat kernel_cpustat __ksym;
SEC("raw_tp/sys_enter") int reads(void *ctx)
{
	const struct kernel_cpustat *cpu = bpf_per_cpu_ptr(&kernel_cpustat, 0);
	const int *active = bpf_this_cpu_ptr(&bpf_prog_active);
	return cpu && cpu->cpustat[0] == 1 && *active;
}
