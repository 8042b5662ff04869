// feature: loops and long jumps
// since: 5.10
#include "corpus.h"

SEC("tc") int sums(struct __sk_buff *skb)
{
	unsigned int sum = 0;
	for (int at = 0; at < 1000; at++)
		sum = sum * 31 + at + skb->len;
	return sum;
}
