// feature: enums of 64 bits, of the object and of the kernel
// since: 5.10
// clang: 19
#include "corpus.h"

enum own64 { SMALL = 1, LARGE = 0x123456789abULL };
enum perf_callchain_context___own { PERF_CONTEXT_KERNEL___own = (unsigned long long)-1, };
enum own64 value = LARGE;
SEC("tc") int reads(struct __sk_buff *skb)
{
	unsigned long long of_kernel = bpf_core_enum_value(enum perf_callchain_context___own, PERF_CONTEXT_KERNEL___own);
	return (value >> 32) + (of_kernel & 0xff) + (of_kernel >> 60);
}
