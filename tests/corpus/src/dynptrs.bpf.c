// feature: dynamic pointers
// since: 6.4
#include "corpus.h"

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, unsigned long long flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, unsigned int offset, void *buffer, unsigned int size) __ksym;
SEC("tc") int slices(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	unsigned char buffer[14], *bytes;
	if (bpf_dynptr_from_skb(skb, 0, &ptr))
		return 1;
	bytes = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	return bytes ? 100 + bytes[12] : 2;
}
