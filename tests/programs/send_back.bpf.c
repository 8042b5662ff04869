// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Sends every packet back to its sender: the lowest cost of forwarding by XDP.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int send_back(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = data;
	unsigned char address[ETH_ALEN];

	if ((void *)(ether + 1) > end)
		return XDP_DROP;
	__builtin_memcpy(address, ether->h_dest, ETH_ALEN);
	__builtin_memcpy(ether->h_dest, ether->h_source, ETH_ALEN);
	__builtin_memcpy(ether->h_source, address, ETH_ALEN);
	return XDP_TX;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
