// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Variables of several types and maps whose sizes can be set.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct limits {
    __u32 rate;
    __u16 ports[2];
};

volatile __u16 port = 80;
volatile __s32 offset = -5;
char name[8] = "before";
volatile struct limits limits = { 1, { 2, 3 } };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u64);
} flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("xdp")
int reads(struct xdp_md *context)
{
    __u32 key = port + offset + name[0] + limits.rate;
    void *record = bpf_ringbuf_reserve(&events, 8, 0);

    if (record)
        bpf_ringbuf_discard(record, 0);
    return bpf_map_lookup_elem(&flows, &key) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
