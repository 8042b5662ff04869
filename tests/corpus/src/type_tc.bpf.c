// feature: TC programs, by every name of their sections
// since: 5.10
#include "corpus.h"

SEC("tc") int plain(struct __sk_buff *skb) { return skb->len; }
SEC("classifier") int classifies(struct __sk_buff *skb) { return 1; }
SEC("tc/ingress") int tc_ingress(struct __sk_buff *skb) { return 3; }
SEC("tc/egress") int tc_egress(struct __sk_buff *skb) { return 4; }
SEC("tcx/ingress") int tcx_ingress(struct __sk_buff *skb) { return 5; }
SEC("tcx/egress") int tcx_egress(struct __sk_buff *skb) { return 6; }
