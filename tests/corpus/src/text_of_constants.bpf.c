// feature: constants that the compiler makes, texts above all
// since: 5.10
#include "corpus.h"

static const int table[8] = { 3, 1, 4, 1, 5, 9, 2, 6 };
SEC("tc") int reads(struct __sk_buff *skb)
{
	bpf_printk("corpus %d", skb->len);
	return table[skb->len & 7];
}
