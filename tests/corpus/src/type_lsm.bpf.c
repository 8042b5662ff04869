// feature: security hooks
// since: 5.10
#include "corpus.h"

SEC("lsm/file_open") int BPF_PROG(opens, void *file) { return 0; }
