// feature: probes of functions of the kernel and of system calls
// since: 5.10
#include "corpus.h"

struct pt_regs { unsigned long di; unsigned long ax; } __core;
SEC("kprobe/vfs_read") int enter(struct pt_regs *ctx) { return ctx->di == 1; }
SEC("kretprobe/vfs_read") int leave(struct pt_regs *ctx) { return 0; }
SEC("kprobe") int untold(struct pt_regs *ctx) { return 0; }
SEC("kprobe/vfs_read+0x4") int inside(struct pt_regs *ctx) { return 0; }
