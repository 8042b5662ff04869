// feature: security hooks of a cgroup
// since: 6.0
#include "corpus.h"

SEC("lsm_cgroup/socket_bind") int BPF_PROG(binds, void *sock) { return 1; }
