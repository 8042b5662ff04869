// feature: security hooks that may sleep
// since: 5.11
#include "corpus.h"

SEC("lsm.s/file_open") int BPF_PROG(sleeps, void *file) { return 0; }
