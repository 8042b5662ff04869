// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// An object written for libbpf: names in sections, all kinds of data, a ring buffer, functions of both linkages.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

const volatile __u32 chosen = 1;
static volatile __u32 counted;
__u32 started = 7;
__u64 total;

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

static __noinline int local(__u32 value)
{
    counted += value;
    return counted > 1000;
}

__noinline int global_function(__u32 value)
{
    total += value + started;
    return total > 1000;
}

static __always_inline int work(void)
{
    __u32 *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);

    if (event) {
        *event = chosen;
        bpf_ringbuf_submit(event, 0);
    }
    return local(chosen) + global_function(chosen);
}

SEC("xdp/some_name")
int named_section(struct xdp_md *ctx)
{
    return work() > 5 ? XDP_DROP : XDP_PASS;
}

SEC("xdp.frags")
int takes_frags(struct xdp_md *ctx)
{
    return work() > 5 ? XDP_DROP : XDP_PASS;
}

SEC("tc")
int plain_tc(struct __sk_buff *skb)
{
    return work() > 5 ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("tcx/egress")
int outward(struct __sk_buff *skb)
{
    return work() > 5 ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("classifier")
int of_old(struct __sk_buff *skb)
{
    return TC_ACT_OK;
}

SEC("tp/syscalls/sys_enter_getpriority")
int short_name(void *ctx)
{
    return work();
}

char LICENSE[] SEC("license") = "GPL";
