// feature: probes of many functions of a program
// since: 6.6
#include "corpus.h"

SEC("uprobe.multi//bin/sh:ma*") int enter(void *ctx) { return 0; }
SEC("uretprobe.multi//bin/sh:ma*") int leave(void *ctx) { return 0; }
SEC("uprobe.multi.s//bin/sh:ma*") int sleeps(void *ctx) { return 0; }
SEC("uretprobe.multi.s//bin/sh:ma*") int sleeps_too(void *ctx) { return 0; }
