// feature: probes of both ends of functions of the kernel
// since: 6.10
#include "corpus.h"

SEC("kprobe.session/vfs_*") int both(void *ctx) { return 0; }
