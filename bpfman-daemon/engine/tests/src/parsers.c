// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Members that parse the same headers.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} datagrams SEC(".maps");

static __always_inline void count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&datagrams, &slot);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline int datagram(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end, *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return 0;
	return (void *)ip + ip->ihl * 4 + sizeof(struct udphdr) <= end;
}

SEC("xdp")
int first(struct xdp_md *ctx)
{
	if (datagram(ctx))
		count(0);
	return XDP_PASS;
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	if (datagram(ctx))
		count(1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
