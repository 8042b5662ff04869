// feature: probes of functions of the kernel and of system calls
// since: 5.10
#include "corpus.h"

struct pt_regs { unsigned long di; unsigned long ax; } __core;
struct user_pt_regs { unsigned long long regs[31]; } __core;
#ifdef __TARGET_ARCH_arm64
#define FIRST(ctx) ((struct user_pt_regs *)(ctx))->regs[0]
#else
#define FIRST(ctx) (ctx)->di
#endif
SEC("kprobe/vfs_read") int enter(struct pt_regs *ctx) { return FIRST(ctx) == 1; }
SEC("kretprobe/vfs_read") int leave(struct pt_regs *ctx) { return 0; }
SEC("kprobe") int untold(struct pt_regs *ctx) { return 0; }
SEC("kprobe/vfs_read+0x4") int inside(struct pt_regs *ctx) { return 0; }
