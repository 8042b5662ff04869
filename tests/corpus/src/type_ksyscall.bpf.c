// feature: probes of system calls by their names
// since: 5.10
#include "corpus.h"

struct pt_regs { unsigned long di; } __core;
SEC("ksyscall/unlinkat") int enter(struct pt_regs *ctx) { return 0; }
SEC("kretsyscall/unlinkat") int leave(struct pt_regs *ctx) { return 0; }
