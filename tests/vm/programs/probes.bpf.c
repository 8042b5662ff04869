// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Tracepoint and probes. `act mkdir` calls do_mkdirat, which returns -EEXIST; `act probe` calls its own function.
#include "calls.h"

SEC("tracepoint/syscalls/sys_enter_mkdir") int on_tracepoint(void *ctx) { return count(1); }
SEC("kprobe/do_mkdirat") int on_kprobe(struct pt_regs *ctx) { return count((__s32)PT_REGS_PARM1(ctx)); }
SEC("kretprobe/do_mkdirat") int on_kretprobe(struct pt_regs *ctx) { return count(PT_REGS_RC(ctx)); }
SEC("uprobe") int on_uprobe(struct pt_regs *ctx) { return count(PT_REGS_PARM1(ctx)); }
SEC("uretprobe") int on_uretprobe(struct pt_regs *ctx) { return count(PT_REGS_RC(ctx)); }
