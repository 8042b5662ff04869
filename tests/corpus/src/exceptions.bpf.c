// feature: exceptions
// since: 6.7
#include "corpus.h"

extern void bpf_throw(unsigned long long cookie) __ksym __attribute__((noreturn));
SEC("tc") int throws(struct __sk_buff *skb)
{
	if (skb->len < 100)
		bpf_throw(33);
	return 1;
}
