// feature: addresses of the kernel's symbols
// since: 5.10
#include "corpus.h"

extern const void bpf_prog_put __ksym;
extern const void no_such_symbol __ksym __weak;
extern const void __per_cpu_start __ksym __weak;
SEC("tc") int reads(struct __sk_buff *skb)
{
	return (unsigned int)(unsigned long)&bpf_prog_put + (&no_such_symbol ? 1 : 2);
}
