// feature: instructions of the fourth version
// since: 6.6
// clang: 19
// flags: -mcpu=v4
#include "corpus.h"

volatile signed char narrow = -3;
volatile int divisor = -2;
SEC("tc") int computes(struct __sk_buff *skb)
{
	int value = narrow;
	return value / divisor + __builtin_bswap32(skb->len) + value % divisor;
}
