// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Members of chains that leave values on their stack, and members that look for them in unwritten stack. The kernel
// lets privileged programs read it (Linux 6.3 and later).
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define WORD 0x5ec7e700

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} seen SEC(".maps"); // runs that looked, and words that they found

// In assembly, since compilers change such reads and remove writes that are never read.
#define WRITE(at) asm volatile("*(u64 *)(r10 - " #at ") = %0" : : "r"(word) : "memory")
#define READ(at) asm volatile("%0 = *(u64 *)(r10 - " #at ")" : "=r"(word)); found += word == WORD

static __always_inline void leave_words(void)
{
    __u64 word = WORD;

    WRITE(16);
    WRITE(64);
    WRITE(128);
    WRITE(256);
}

static __always_inline void look_for_words(void)
{
    __u64 word, found = 0, *count;
    __u32 place = 0;

    READ(16);
    READ(64);
    READ(128);
    READ(256);
    count = bpf_map_lookup_elem(&seen, &place);
    if (count)
        __sync_fetch_and_add(count, 1);
    place = 1;
    count = bpf_map_lookup_elem(&seen, &place);
    if (count)
        __sync_fetch_and_add(count, found);
}

SEC("xdp")
int leaves(struct xdp_md *ctx)
{
    leave_words();
    return XDP_PASS;
}

SEC("xdp")
int looks(struct xdp_md *ctx)
{
    look_for_words();
    return XDP_PASS;
}

// Finds its own values.
SEC("xdp")
int leaves_and_looks(struct xdp_md *ctx)
{
    leave_words();
    look_for_words();
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
