// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Takes addresses of symbols of the kernel, and asks for options that it was built with.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

extern const void bpf_prog_put __ksym;
extern const void no_such_symbol __ksym;
extern const void no_such_weak_symbol __ksym __weak;
extern bool CONFIG_BPF __kconfig;
extern bool CONFIG_NO_SUCH_OPTION __kconfig __weak;

SEC("uprobe")
int probe_address(void *ctx)
{
	return (unsigned long)&bpf_prog_put == 1 || &no_such_weak_symbol;
}

SEC("uprobe")
int probe_missing(void *ctx)
{
	return (unsigned long)&no_such_symbol == 1;
}

SEC("uprobe")
int probe_options(void *ctx)
{
	return CONFIG_BPF && !CONFIG_NO_SUCH_OPTION;
}

char _license[] SEC("license") = "GPL";
