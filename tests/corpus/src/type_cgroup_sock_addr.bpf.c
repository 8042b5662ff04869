// feature: programs of addresses of a cgroup
// since: 5.10
#include "corpus.h"

// Some hooks accept only the verdict 1.
#define AT(hook, answer) SEC("cgroup/" #hook) int at_##hook(struct bpf_sock_addr *ctx) { return answer; }
#define JUDGES(hook) AT(hook, ctx->user_family != 99)
#define WATCHES(hook) AT(hook, 1)
JUDGES(bind4) JUDGES(bind6) JUDGES(connect4) JUDGES(connect6) JUDGES(sendmsg4) JUDGES(sendmsg6)
WATCHES(recvmsg4) WATCHES(recvmsg6) WATCHES(getpeername4) WATCHES(getpeername6) WATCHES(getsockname4) WATCHES(getsockname6)
