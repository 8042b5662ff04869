// feature: functions, static ones, global ones and those with arguments that are tagged
// since: 5.10
#include "corpus.h"

static __noinline int doubled(int value) { volatile int v = value; return v * 2; }
__noinline int global(int value) { return doubled(value) + 1; }
__weak __noinline int weak(struct __sk_buff *skb, int value) { return skb->len + value; }
SEC("tc") int calls(struct __sk_buff *skb) { return global(weak(skb, 3)) + doubled(4); }
SEC("tc") int calls_too(struct __sk_buff *skb) { return weak(skb, 1); }
