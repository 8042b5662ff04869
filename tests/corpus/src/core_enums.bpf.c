// feature: values of the kernel's enums
// since: 5.10
#include "corpus.h"

enum bpf_map_type___own { BPF_MAP_TYPE_HASH___own = 99, BPF_MAP_TYPE_RINGBUF___own = 98, BPF_MAP_TYPE_NONE_SUCH___own = 97 };
enum hrtimer_mode___own { HRTIMER_MODE_REL_PINNED___own = 55 };
SEC("tc") int values(struct __sk_buff *skb)
{
	return bpf_core_enum_value(enum bpf_map_type___own, BPF_MAP_TYPE_HASH___own)
		+ 256 * bpf_core_enum_value(enum bpf_map_type___own, BPF_MAP_TYPE_RINGBUF___own)
		+ 65536 * bpf_core_enum_value_exists(enum bpf_map_type___own, BPF_MAP_TYPE_NONE_SUCH___own)
		+ 131072 * bpf_core_enum_value_exists(enum bpf_map_type___own, BPF_MAP_TYPE_RINGBUF___own)
		+ (bpf_core_enum_value(enum hrtimer_mode___own, HRTIMER_MODE_REL_PINNED___own) << 20);
}
