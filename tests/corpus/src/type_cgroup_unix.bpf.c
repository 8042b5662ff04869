// feature: programs of addresses of unix sockets
// since: 6.7
#include "corpus.h"

#define AT(hook) SEC("cgroup/" #hook) int at_##hook(struct bpf_sock_addr *ctx) { return 1; }
AT(connect_unix) AT(sendmsg_unix) AT(recvmsg_unix) AT(getpeername_unix) AT(getsockname_unix)
