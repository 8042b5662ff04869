// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs like those of users of bpfman v0.6.0, in sections that it knows.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

const volatile __s32 verdict = XDP_PASS;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 3);
    __type(key, __u32);
    __type(value, __u64);
} runs SEC(".maps");

static __always_inline void count(__u32 place)
{
    __u64 *counter = bpf_map_lookup_elem(&runs, &place);

    if (counter)
        __sync_fetch_and_add(counter, 1);
}

SEC("xdp")
int on_xdp(struct xdp_md *ctx)
{
    count(0);
    return verdict;
}

SEC("classifier")
int on_ingress(struct __sk_buff *skb)
{
    count(1);
    return TC_ACT_SHOT;
}

SEC("tracepoint/syscalls/sys_enter_getpriority")
int on_tracepoint(void *ctx)
{
    count(2);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
