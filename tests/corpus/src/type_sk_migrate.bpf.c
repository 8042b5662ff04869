// feature: groups of sockets when one closes
// since: 5.14
#include "corpus.h"

SEC("sk_reuseport/migrate") int migrate(struct sk_reuseport_md *ctx) { return SK_PASS; }
