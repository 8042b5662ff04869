// feature: places that programs mark for probes (USDT), probed by what may sleep
// since: 6.0
#include "corpus.h"

SEC("usdt.s/libc.so.6:libc:setjmp") int place(void *ctx) { return 0; }
