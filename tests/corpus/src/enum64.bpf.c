// feature: enums of 64 bits
// since: 5.10
// clang: 19
#include "corpus.h"

enum own64 { SMALL = 1, LARGE = 0x123456789abULL };
enum own64 value = LARGE;
SEC("tc") int reads(struct __sk_buff *skb) { return value >> 32; }
