// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Third-party programs at an interface: one passes everything, one drops the datagrams of the tests.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int stranger(struct xdp_md *ctx)
{
    return XDP_PASS;
}

SEC("tc")
int dropper(struct __sk_buff *skb)
{
    void *end = (void *)(long)skb->data_end;
    struct udphdr *udp = (void *)(long)skb->data + sizeof(struct ethhdr) + sizeof(struct iphdr);

    if ((void *)(udp + 1) > end || udp->dest != bpf_htons(4242))
        return TC_ACT_UNSPEC;
    return TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";
