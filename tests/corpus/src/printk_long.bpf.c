// feature: texts with many arguments
// since: 5.13
#include "corpus.h"

SEC("tc") int tells(struct __sk_buff *skb)
{
	char out[64];
	unsigned long long arguments[] = { 1, 2, 3 };
	bpf_printk("%d %d %d %d", skb->len, 1, 2, 3);
	return bpf_snprintf(out, sizeof(out), "%llu-%llu-%llu", arguments, sizeof(arguments));
}
