// feature: arguments of global functions that libbpf has to describe to older kernels
// since: 5.10
#include "corpus.h"

__noinline int of_context(void *ctx __arg_ctx) { return ((struct __sk_buff *)ctx)->len; }
SEC("tc") int calls(struct __sk_buff *skb) { return of_context(skb); }
// The same function with another context.
__noinline int of_any(int value, void *ctx __arg_ctx) 
{
	asm volatile("" ::"r"(ctx));
	return bpf_get_smp_processor_id() == 9999 ? value : 3;
}
SEC("xdp") int calls_xdp(struct xdp_md *xdp) { return of_any(1, xdp); }
SEC("socket") int calls_socket(struct __sk_buff *skb) { return of_any(2, skb); }
SEC("raw_tp/sys_enter") int calls_raw(struct bpf_raw_tracepoint_args *args) { return of_any(2, args); }
