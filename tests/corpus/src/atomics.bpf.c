// feature: atomic operations that return what was
// since: 5.12
// flags: -mcpu=v3
#include "corpus.h"

long counter = 5;
SEC("tc") int adds(struct __sk_buff *skb)
{
	long was = __sync_fetch_and_add(&counter, 3);
	return was * 100 + __sync_val_compare_and_swap(&counter, 8, 9);
}
