// feature: programs of packets of a cgroup
// since: 5.10
#include "corpus.h"

SEC("cgroup_skb/ingress") int ingress(struct __sk_buff *skb) { return skb->len > 0; }
SEC("cgroup_skb/egress") int egress(struct __sk_buff *skb) { return 1; }
SEC("cgroup/skb") int either(struct __sk_buff *skb) { return 1; }
