// feature: programs that are run by hand
// since: 5.14
#include "corpus.h"

SEC("syscall") int by_hand(void *ctx) { return 42; }
