// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// The file behind a descriptor that a call has just returned: the file that was opened, whatever path was requested.
#ifndef EXAMPLES_OPENED_FILE_H
#define EXAMPLES_OPENED_FILE_H

#include "kernel_process.h"

// Format of /sys/kernel/tracing/events/syscalls/sys_exit_openat/format, which is the same for every call.
struct sys_exit {
	__u64 common;
	__s64 number;
	__s64 result;
};

// Returns NULL if the call failed, or another thread has already closed the descriptor.
static __always_inline struct file *opened_file(struct sys_exit *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (ctx->result < 0 || ctx->result >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + ctx->result);
	return file;
}

#endif
