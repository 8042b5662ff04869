// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Members of chains. Each counts datagrams to port 4242, records the order in which members ran, and returns a
// configurable verdict. All other packets pass.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TRAIL_LENGTH 64

const volatile __u32 who = 0;
const volatile __s32 verdict = XDP_PASS;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} hits SEC(".maps");

// Members that ran, in order, after their count in the first entry. Shared by all members of one daemon.
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, TRAIL_LENGTH);
    __type(key, __u32);
    __type(value, __u32);
    __uint(pinning, LIBBPF_PIN_BY_NAME);
} trail SEC(".maps");

static __always_inline int is_judged(void *data, void *end)
{
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    struct udphdr *udp = (void *)(ip + 1);

    if ((void *)(udp + 1) > end)
        return 0;
    return eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_UDP && ip->ihl == 5 &&
           udp->dest == bpf_htons(4242);
}

static __always_inline int judge(void *data, void *end, int otherwise)
{
    __u32 zero = 0, place;
    __u64 *count;
    __u32 *length, *entry;

    if (!is_judged(data, end))
        return otherwise;
    count = bpf_map_lookup_elem(&hits, &zero);
    if (count)
        __sync_fetch_and_add(count, 1);
    length = bpf_map_lookup_elem(&trail, &zero);
    if (length) {
        place = *length + 1;
        entry = bpf_map_lookup_elem(&trail, &place);
        if (entry) {
            *entry = who;
            *length = place;
        }
    }
    return verdict;
}

SEC("xdp")
int xdp_member(struct xdp_md *ctx)
{
    return judge((void *)(long)ctx->data, (void *)(long)ctx->data_end, XDP_PASS);
}

SEC("xdp")
int xdp_another(struct xdp_md *ctx)
{
    return judge((void *)(long)ctx->data, (void *)(long)ctx->data_end, XDP_PASS);
}

SEC("tc")
int tc_member(struct __sk_buff *skb)
{
    return judge((void *)(long)skb->data, (void *)(long)skb->data_end, TC_ACT_OK);
}

SEC("tcx/ingress")
int tcx_member(struct __sk_buff *skb)
{
    return judge((void *)(long)skb->data, (void *)(long)skb->data_end, TC_ACT_UNSPEC);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
