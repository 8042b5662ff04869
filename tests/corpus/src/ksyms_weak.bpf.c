// feature: functions and variables that the kernel may lack
// since: 5.10
#include "corpus.h"

struct task_struct;
extern void bpf_no_such_function(struct task_struct *task) __ksym __weak;
extern void bpf_also_missing(struct task_struct *task) __ksym __weak;
extern int CONFIG_HZ __kconfig __weak;
extern const int no_such_variable __ksym __weak;
SEC("tc") int asks(struct __sk_buff *skb)
{
	if (bpf_ksym_exists(bpf_no_such_function))
		bpf_no_such_function(0);
	// The existence is not tested first: the verifier refuses the call if it can be reached, and here it cannot.
	if (skb->len > 100000 && bpf_ksym_exists(bpf_also_missing))
		bpf_also_missing(0);
	return (&no_such_variable ? 1 : 2) + (CONFIG_HZ == 1);
}
