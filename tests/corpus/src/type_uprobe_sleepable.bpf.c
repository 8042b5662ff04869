// feature: probes of functions of programs that may sleep
// since: 6.0
#include "corpus.h"

char buffer[16];
SEC("uprobe.s") int enter(void *ctx) { return bpf_copy_from_user(buffer, sizeof(buffer), 0) ? 1 : 0; }
SEC("uretprobe.s") int leave(void *ctx) { return 0; }
