// feature: places that programs mark for probes (USDT)
// since: 5.10
#include "corpus.h"

SEC("usdt/libc.so.6:libc:setjmp") int place(void *ctx) { return 0; }
SEC("usdt") int untold_place(void *ctx) { return 0; }
