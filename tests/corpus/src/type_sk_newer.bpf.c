// feature: verdicts of sockmaps without a parser
// since: 5.14
#include "corpus.h"

SEC("sk_skb/verdict") int verdict(struct __sk_buff *skb) { return SK_PASS; }
