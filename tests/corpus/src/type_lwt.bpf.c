// feature: programs of routes
// since: 5.10
#include "corpus.h"

SEC("lwt_in") int in(struct __sk_buff *skb) { return 0; }
SEC("lwt_out") int out(struct __sk_buff *skb) { return 0; }
SEC("lwt_xmit") int xmit(struct __sk_buff *skb) { return 0; }
SEC("lwt_seg6local") int local(struct __sk_buff *skb) { return 0; }
