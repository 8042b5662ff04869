// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Refers to types and functions that a module has and the kernel itself lacks.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct both {
	int late;
} __attribute__((preserve_access_index));
struct only_in_module {
	int second;
} __attribute__((preserve_access_index));

extern int module_function(int) __ksym;
extern int kernel_function(int) __ksym;

SEC("kprobe") int reads(struct only_in_module *ctx) { return ctx->second; }
SEC("kprobe") int exists(void *ctx) { return bpf_core_type_exists(struct only_in_module); }
SEC("kprobe") int of_kernel(struct both *ctx) { return ctx->late; }
SEC("kprobe") int calls(void *ctx) { return kernel_function(1) + module_function(2); }
SEC("kprobe") int plain(void *ctx) { return kernel_function(1); }

char _license[] SEC("license") = "GPL";
