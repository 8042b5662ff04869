// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Members that change what the next one sees: bytes, length, metadata, mark.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Byte 30 becomes 9.
SEC("xdp")
int xdp_byte(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data;

    if ((void *)(data + 31) > (void *)(long)ctx->data_end)
        return XDP_ABORTED;
    data[30] = 9;
    return XDP_PASS;
}

// Four bytes more at the front.
SEC("xdp")
int xdp_longer(struct xdp_md *ctx)
{
    __u32 *front;

    if (bpf_xdp_adjust_head(ctx, -4))
        return XDP_ABORTED;
    front = (void *)(long)ctx->data;
    if ((void *)(front + 1) > (void *)(long)ctx->data_end)
        return XDP_ABORTED;
    *front = bpf_htonl(0xaabbccdd);
    return XDP_PASS;
}

// Four bytes of metadata.
SEC("xdp")
int xdp_metadata(struct xdp_md *ctx)
{
    __u32 *meta;

    if (bpf_xdp_adjust_meta(ctx, -4))
        return XDP_ABORTED;
    meta = (void *)(long)ctx->data_meta;
    if ((void *)(meta + 1) > (void *)(long)ctx->data)
        return XDP_ABORTED;
    *meta = 7;
    return XDP_PASS;
}

// Drops packets without that metadata.
SEC("xdp")
int xdp_wants_metadata(struct xdp_md *ctx)
{
    __u32 *meta = (void *)(long)ctx->data_meta;

    if ((void *)(meta + 1) > (void *)(long)ctx->data || *meta != 7)
        return XDP_DROP;
    return XDP_TX;
}

SEC("tc")
int tc_mark(struct __sk_buff *skb)
{
    skb->mark += 7;
    return TC_ACT_PIPE;
}

// Steals packets without the mark.
SEC("tc")
int tc_wants_mark(struct __sk_buff *skb)
{
    return skb->mark == 7 ? TC_ACT_OK : TC_ACT_STOLEN;
}

// Returns two verdicts in turn.
static __u32 times;

SEC("xdp")
int xdp_alternates(struct xdp_md *ctx)
{
    return times++ & 1 ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
