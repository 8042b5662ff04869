// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs of a tenant that call forbidden helpers, each in another way, and one that calls permitted helpers.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} seen SEC(".maps");

static void keep(__u64 value)
{
    __u32 place = 0;

    bpf_map_update_elem(&seen, &place, &value, BPF_ANY);
}

SEC("uprobe")
int reads_user(void *ctx)
{
    __u64 value = bpf_get_current_pid_tgid();

    bpf_probe_read_user(&value, sizeof value, (void *)value);
    keep(value);
    return 0;
}

SEC("uprobe")
int reads_kernel(void *ctx)
{
    __u64 value = 0;

    bpf_probe_read_kernel(&value, sizeof value, (void *)bpf_get_current_pid_tgid());
    keep(value);
    return 0;
}

SEC("uprobe")
int writes_user(void *ctx)
{
    __u64 value = 0;

    bpf_probe_write_user((void *)bpf_get_current_pid_tgid(), &value, sizeof value);
    return 0;
}

SEC("uprobe")
int signals(void *ctx)
{
    return bpf_send_signal(9);
}

static __attribute__((noinline)) int prints(int value)
{
    bpf_printk("%d", value);
    return value;
}

SEC("uprobe")
int prints_in_a_function(void *ctx)
{
    return prints(bpf_get_smp_processor_id());
}

static long on_entry(void *map, __u32 *key, __u64 *value, void *ctx)
{
    return bpf_send_signal(9);
}

SEC("uprobe")
int signals_in_a_callback(void *ctx)
{
    bpf_for_each_map_elem(&seen, on_entry, 0, 0);
    return 0;
}

static long nothing(__u32 index, void *ctx)
{
    return 0;
}

static long loops_again(__u32 index, void *ctx)
{
    return bpf_loop(1000, nothing, 0, 0) < 0;
}

SEC("uprobe")
int loops_in_loops(void *ctx)
{
    bpf_loop(101, loops_again, 0, 0);
    return 0;
}

SEC("uprobe")
int loops_enough(void *ctx)
{
    bpf_loop(100, loops_again, 0, 0);
    return 0;
}

SEC("uprobe")
int loops_of_any_count(void *ctx)
{
    bpf_loop(bpf_get_prandom_u32(), nothing, 0, 0);
    return 0;
}

static long walks_far(__u32 index, void *ctx)
{
    volatile int sum = 0;
#pragma clang loop unroll(disable)
    for (int i = 0; i < 1000; i++)
        sum += i;
    return sum < 0;
}

SEC("uprobe")
int loops_too_long(void *ctx)
{
    bpf_loop(50000, walks_far, 0, 0);
    return 0;
}

/* The verifier walks through a global function once, by its type, however often it is called. */
__attribute__((noinline)) int walks_global(int value)
{
    volatile int sum = value;
#pragma clang loop unroll(disable)
    for (int i = 0; i < 3000; i++)
        sum += i;
    return sum;
}

SEC("uprobe")
int loops_of_global(void *ctx)
{
    volatile int sum = 0;
#pragma clang loop unroll(disable)
    for (int i = 0; i < 3000; i++)
        sum += walks_global(i);
    return sum < 0;
}

/* A small loop in a long program: its rounds times all instructions would exceed the limit. */
SEC("uprobe")
int loops_in_a_part(void *ctx)
{
    volatile int sum = 0;
#pragma clang loop unroll(disable)
    for (int i = 0; i < 1000; i++)
        sum += i;
    bpf_loop(90000, nothing, 0, 0);
    return sum < 0;
}

struct bytes {
    char of[1 << 20];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct bytes);
} large SEC(".maps");

static long copies(__u32 index, void *ctx)
{
    __u32 zero = 0;
    void *value = bpf_map_lookup_elem(&large, &zero);

    if (value)
        bpf_map_update_elem(&large, &zero, value, BPF_ANY);
    return 0;
}

/* Few instructions, each of which may copy a MiB. */
SEC("uprobe")
int copies_in_a_loop(void *ctx)
{
    bpf_loop(1000, copies, 0, 0);
    return 0;
}

SEC("uprobe")
int copies_some(void *ctx)
{
    bpf_loop(10, copies, 0, 0);
    return 0;
}

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} goes_on SEC(".maps");

SEC("xdp")
int tail_calls(struct xdp_md *ctx)
{
    bpf_tail_call(ctx, &goes_on, 0);
    return XDP_PASS;
}

static __attribute__((noinline)) int leaves(struct xdp_md *ctx)
{
    bpf_tail_call(ctx, &goes_on, 0);
    return XDP_PASS;
}

SEC("xdp")
int tail_calls_in_a_function(struct xdp_md *ctx)
{
    volatile int verdict = leaves(ctx);

    return verdict;
}

SEC("uretprobe.multi")
int returns_of_many(void *ctx)
{
    return 0;
}

SEC("uprobe.session")
int session_of_many(void *ctx)
{
    return 0;
}

const volatile __u16 port = 0;

static __always_inline void finds(struct __sk_buff *skb, __u64 netns)
{
    struct bpf_sock_tuple tuple = {};
    struct bpf_sock *found;

    tuple.ipv4.daddr = bpf_htonl(0x7f000001);
    tuple.ipv4.dport = bpf_htons(port);
    found = bpf_sk_lookup_tcp(skb, &tuple, sizeof tuple.ipv4, netns, 0);
    if (!found)
        return;
    bpf_sk_release(found);
    keep(1);
}

SEC("tc")
int finds_here(struct __sk_buff *skb)
{
    finds(skb, BPF_F_CURRENT_NETNS);
    return TC_ACT_OK;
}

SEC("tc")
int finds_elsewhere(struct __sk_buff *skb)
{
    finds(skb, 0);
    return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
