// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Kernel functions, kernel variables and kernel configuration.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct;

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void no_such_function(void) __ksym __weak;
extern const int bpf_prog_active __ksym __weak;
extern const struct task_struct init_task __ksym __weak;
extern const void no_such_symbol __ksym __weak;

extern int LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_BPF __kconfig;
extern int CONFIG_NO_SUCH_OPTION __kconfig __weak;
extern char CONFIG_CC_VERSION_TEXT[64] __kconfig __weak;
extern enum libbpf_tristate CONFIG_TUN __kconfig __weak;

SEC("tc")
int calls(struct __sk_buff *skb)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	return 0;
}

#ifndef FOR_LIBBPF_1_1
// Later versions of libbpf write another number for a missing function.
SEC("tc")
int weak_call(struct __sk_buff *skb)
{
	if (no_such_function)
		no_such_function();
	return 0;
}
#endif

SEC("tc")
int weak(struct __sk_buff *skb)
{
	if (&no_such_symbol)
		return 1;
	return 0;
}

SEC("tc")
int configuration(struct __sk_buff *skb)
{
	if (LINUX_KERNEL_VERSION < 0x50a00 || CONFIG_TUN == TRI_MODULE)
		return CONFIG_NO_SUCH_OPTION;
	return CONFIG_BPF + CONFIG_CC_VERSION_TEXT[skb->len & 63];
}

char _license[] SEC("license") = "GPL";
