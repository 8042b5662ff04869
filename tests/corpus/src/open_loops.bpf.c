// feature: loops by iterators of numbers
// since: 6.4
#include "corpus.h"

struct bpf_iter_num;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;
struct bpf_iter_num { unsigned long long opaque[1]; } __attribute__((aligned(8)));
SEC("tc") int sums(struct __sk_buff *skb)
{
	struct bpf_iter_num it;
	int *value, sum = 0;
	bpf_iter_num_new(&it, 1, 11);
	while ((value = bpf_iter_num_next(&it)))
		sum += *value;
	bpf_iter_num_destroy(&it);
	return sum;
}
