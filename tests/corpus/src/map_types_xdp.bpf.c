// feature: maps that XDP redirects to
// since: 5.10
#include "corpus.h"

struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 4); __type(key, int); __type(value, struct bpf_devmap_val); } devices SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_DEVMAP_HASH); __uint(max_entries, 4); __type(key, int); __type(value, int); } hashed SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_CPUMAP); __uint(max_entries, 4); __type(key, int); __type(value, struct bpf_cpumap_val); } cpus SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_XSKMAP); __uint(max_entries, 4); __type(key, int); __type(value, int); } sockets SEC(".maps");
SEC("xdp") int redirects(struct xdp_md *ctx)
{
	switch (ctx->rx_queue_index) {
	case 0: return bpf_redirect_map(&devices, 1, 0);
	case 1: return bpf_redirect_map(&hashed, 1, 0);
	case 2: return bpf_redirect_map(&cpus, 1, 0);
	default: return bpf_redirect_map(&sockets, 1, XDP_PASS);
	}
}
