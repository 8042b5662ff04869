// feature: numbers of types, of the object and of the kernel
// since: 5.10
#include "corpus.h"

struct task_struct { int pid; } __core;
struct own { int a, b; };
SEC("tc") int ids(struct __sk_buff *skb)
{
	return (bpf_core_type_id_kernel(struct task_struct) & 0xffff) + 65536 * (bpf_core_type_id_local(struct own) > 0);
}
