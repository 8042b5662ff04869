// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Tracepoint and probes. `act truncate` reaches vfs_truncate(path, length), which returns -EISDIR; `act probe` calls its own
// function. vfs_truncate has this name and these parameters on every supported kernel; do_mkdirat and similar
// functions do not exist since Linux 7.0.
#include "calls.h"
#include <bpf/bpf_core_read.h>

// The only field that is read here; its offset in the running kernel is found at load time.
struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

SEC("tracepoint/syscalls/sys_enter_mkdirat") int on_tracepoint(void *ctx) { return count(1); }
SEC("kprobe/vfs_truncate") int on_kprobe(struct pt_regs *ctx) { return count(PT_REGS_PARM2(ctx)); }
SEC("kretprobe/vfs_truncate") int on_kretprobe(struct pt_regs *ctx) { return count((__s32)PT_REGS_RC(ctx)); }
SEC("uprobe") int on_uprobe(struct pt_regs *ctx) { return count(PT_REGS_PARM1(ctx)); }
SEC("uretprobe") int on_uretprobe(struct pt_regs *ctx) { return count((__s32)PT_REGS_RC(ctx)); }
// Return probes only by the type of the load: their sections are those of entry probes.
SEC("kprobe/vfs_truncate") int kprobe_for_return(struct pt_regs *ctx) { return count((__s32)PT_REGS_RC(ctx)); }
SEC("uprobe") int uprobe_for_return(struct pt_regs *ctx) { return count((__s32)PT_REGS_RC(ctx)); }
SEC("uprobe.s") int on_sleepable_uprobe(struct pt_regs *ctx) { return count(PT_REGS_PARM1(ctx)); }

SEC("tp/syscalls/sys_enter_mkdirat") int reads_the_task(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return count(BPF_CORE_READ(task, tgid) == bpf_get_current_pid_tgid() >> 32);
}
