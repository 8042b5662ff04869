// feature: programs of sockets of a cgroup
// since: 5.10
#include "corpus.h"

SEC("cgroup/sock_create") int create(struct bpf_sock *sock) { return sock->family != 99; }
SEC("cgroup/sock_release") int release(struct bpf_sock *sock) { return 1; }
SEC("cgroup/sock") int sock(struct bpf_sock *sock) { return 1; }
SEC("cgroup/post_bind4") int bound4(struct bpf_sock *sock) { return sock->src_port != 1; }
SEC("cgroup/post_bind6") int bound6(struct bpf_sock *sock) { return sock->src_port != 1; }
