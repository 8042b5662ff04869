// feature: programs of options, settings, devices and connections of a cgroup
// since: 5.10
#include "corpus.h"

SEC("cgroup/getsockopt") int get(struct bpf_sockopt *ctx) { return 1; }
SEC("cgroup/setsockopt") int set(struct bpf_sockopt *ctx) { return ctx->level != 99; }
SEC("cgroup/sysctl") int setting(struct bpf_sysctl *ctx) { return !ctx->write; }
SEC("cgroup/dev") int device(struct bpf_cgroup_dev_ctx *ctx) { return ctx->major == 1; }
SEC("sockops") int connection(struct bpf_sock_ops *ctx) { return ctx->op != 99; }
