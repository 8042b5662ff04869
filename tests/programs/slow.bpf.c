// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A slow member of chains: it calls a helper 500 times for a packet.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u64 sum;

SEC("xdp")
int xdp_slow(struct xdp_md *ctx)
{
    __u64 drawn = 0;
    int turn;

    for (turn = 0; turn < 500; turn++)
        drawn += bpf_get_prandom_u32();
    sum = drawn;
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
