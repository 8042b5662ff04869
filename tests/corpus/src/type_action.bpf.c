// feature: TC actions
// since: 5.10
#include "corpus.h"

SEC("action") int acts(struct __sk_buff *skb) { return 1; }
