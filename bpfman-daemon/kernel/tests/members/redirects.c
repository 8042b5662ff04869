// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members that redirect, by each kind of map, and that pass metadata to the next program.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define TARGETS(kind, name)             \
	struct {                        \
		__uint(type, kind);     \
		__uint(max_entries, 4); \
		__type(key, __u32);     \
		__type(value, __u32);   \
	} name SEC(".maps")

TARGETS(BPF_MAP_TYPE_DEVMAP, devices);
TARGETS(BPF_MAP_TYPE_DEVMAP_HASH, named_devices);
TARGETS(BPF_MAP_TYPE_CPUMAP, cpus);
TARGETS(BPF_MAP_TYPE_XSKMAP, sockets);

__u64 verdicts[8], handed_over;

static __always_inline __u32 byte(struct xdp_md *ctx, __u32 at)
{
	__u8 *packet = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return packet + at + 1 > end ? 0 : packet[at];
}

SEC("xdp")
int to_interface(struct xdp_md *ctx)
{
	return bpf_redirect(1, 0);
}

// Requests a redirect, but may then pass the packet.
SEC("xdp")
int to_interface_or_not(struct xdp_md *ctx)
{
	int verdict = bpf_redirect(1, 0);

	return byte(ctx, 13) & 1 ? verdict : XDP_PASS;
}

SEC("xdp")
int to_device(struct xdp_md *ctx)
{
	return bpf_redirect_map(&devices, byte(ctx, 12) & 3, XDP_PASS);
}

SEC("xdp")
int to_named_device(struct xdp_md *ctx)
{
	return bpf_redirect_map(&named_devices, byte(ctx, 12) & 3, XDP_TX);
}

SEC("xdp")
int to_cpu(struct xdp_md *ctx)
{
	return bpf_redirect_map(&cpus, byte(ctx, 12) & 3, XDP_PASS);
}

SEC("xdp")
int to_socket(struct xdp_md *ctx)
{
	__u32 queue = ctx->rx_queue_index;

	if (bpf_map_lookup_elem(&sockets, &queue))
		return bpf_redirect_map(&sockets, queue, XDP_DROP);
	return XDP_PASS;
}

SEC("xdp")
int leave_metadata(struct xdp_md *ctx)
{
	__u32 *meta, *end;

	if (bpf_xdp_adjust_meta(ctx, -8))
		return XDP_PASS;
	meta = (void *)(long)ctx->data_meta;
	end = (void *)(long)ctx->data;
	if (meta + 2 > end)
		return XDP_ABORTED;
	meta[0] = ctx->data_end - ctx->data;
	meta[1] = byte(ctx, 14);
	return XDP_PASS;
}

SEC("xdp")
int take_metadata(struct xdp_md *ctx)
{
	__u32 *meta = (void *)(long)ctx->data_meta, *end = (void *)(long)ctx->data;

	if (meta + 2 > end)
		return XDP_PASS;
	handed_over += meta[0] + meta[1];
	return meta[1] & 1 ? XDP_PASS : XDP_TX;
}

char _license[] SEC("license") = "GPL";
