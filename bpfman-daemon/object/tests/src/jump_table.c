/* A section of jump tables, as clang 23 makes one of a dense switch with -mcpu=v4. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

static const volatile __u64 table[4] __attribute__((section(".jumptables"), used));

SEC("xdp") int jumps(struct xdp_md *ctx) { return table[ctx->rx_queue_index & 3]; }

char LICENSE[] SEC("license") = "GPL";
