// feature: socket filters
// since: 5.10
#include "corpus.h"

SEC("socket") int filter(struct __sk_buff *skb) { return skb->len > 20 ? -1 : 0; }
