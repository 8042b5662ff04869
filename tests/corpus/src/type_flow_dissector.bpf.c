// feature: flow dissectors
// since: 5.10
#include "corpus.h"

SEC("flow_dissector") int dissect(struct __sk_buff *skb) { return 0; }
