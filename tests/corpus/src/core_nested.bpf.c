// feature: fields in unions and structs without names, and elements of arrays
// since: 5.10
#include "corpus.h"

struct sock_common { union { struct { unsigned int skc_daddr; unsigned int skc_rcv_saddr; }; }; unsigned short skc_family; } __core;
struct sock { struct sock_common __sk_common; } __core;
struct upid { int nr; } __core;
struct pid { int level; struct upid numbers[1]; } __core;
SEC("tc") int offsets(struct __sk_buff *skb)
{
	struct sock *sk = 0;
	struct pid *pid = 0;
	return bpf_core_field_offset(sk->__sk_common.skc_rcv_saddr) + 256 * bpf_core_field_offset(sk->__sk_common.skc_family)
		+ 65536 * bpf_core_field_offset(pid->numbers[0].nr);
}
