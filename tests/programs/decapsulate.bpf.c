// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Removes the outer header of IP in IP, like a tunnel interface, which kernels of virtual machines often lack.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int decapsulate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data, saved;
	struct iphdr *v4 = (void *)(ether + 1);
	struct ipv6hdr *v6 = (void *)(ether + 1);
	int outer;
	__u8 inner;

	if ((void *)(ether + 1) > end)
		return XDP_PASS;
	if (ether->h_proto == bpf_htons(ETH_P_IP) && (void *)(v4 + 1) <= end) {
		inner = v4->protocol;
		outer = sizeof(*v4);
	} else if (ether->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(v6 + 1) <= end) {
		inner = v6->nexthdr;
		outer = sizeof(*v6);
	} else {
		return XDP_PASS;
	}
	if (inner != IPPROTO_IPIP && inner != IPPROTO_IPV6)
		return XDP_PASS;
	saved = *ether;
	saved.h_proto = inner == IPPROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	if (bpf_xdp_adjust_head(ctx, outer))
		return XDP_DROP;
	ether = data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if ((void *)(ether + 1) > end)
		return XDP_DROP;
	*ether = saved;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
