// feature: programs of netkit devices
// since: 6.7
#include "corpus.h"

SEC("netkit/primary") int primary(struct __sk_buff *skb) { return -1; }
SEC("netkit/peer") int peer(struct __sk_buff *skb) { return -1; }
