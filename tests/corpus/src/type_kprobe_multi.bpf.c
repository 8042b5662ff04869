// feature: probes of many functions of the kernel
// since: 5.18
#include "corpus.h"

SEC("kprobe.multi/vfs_*") int enter(void *ctx) { return 0; }
SEC("kretprobe.multi/vfs_*") int leave(void *ctx) { return 0; }
