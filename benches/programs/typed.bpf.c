// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that cannot be linked without the kernel's types.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

SEC("xdp")
int xdp_typed(struct xdp_md *ctx)
{
	return bpf_core_field_exists(((struct task_struct *)0)->pid) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
