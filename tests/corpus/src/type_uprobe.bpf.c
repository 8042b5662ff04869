// feature: probes of functions of programs
// since: 5.10
#include "corpus.h"

SEC("uprobe//bin/sh:main") int enter(void *ctx) { return 0; }
SEC("uretprobe//bin/sh:main") int leave(void *ctx) { return 0; }
SEC("uprobe") int untold(void *ctx) { return 0; }
