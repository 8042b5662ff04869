// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Members of chains that count in a page of an arena (Linux 6.9). No page is allocated here: writes to a missing page
// are dropped, and reads return 0.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ADDRESS 0x10000000

struct {
    __uint(type, 33); // BPF_MAP_TYPE_ARENA
    __uint(map_flags, 1 << 10); // BPF_F_MMAPABLE
    __uint(max_entries, 4);
#ifndef WITHOUT_ADDRESS
    __uint(map_extra, ADDRESS);
#endif
} pages SEC(".maps");

// `addr_space_cast` of register 1, from the users' addresses to the kernel's: Debian 12's compiler does not know it.
#define CAST_R1 ".byte 0xbf, 0x11, 0x01, 0x00, 0x01, 0x00, 0x00, 0x00\n"

static __always_inline int count(void)
{
    __u64 before;

    asm volatile("r1 = %[address]\n" CAST_R1 "%[before] = *(u64 *)(r1 + 0)\n"
                 "r2 = %[before]\nr2 += 1\n*(u64 *)(r1 + 0) = r2\n"
                 : [before] "=&r"(before)
                 : [address] "i"(ADDRESS), "r"(&pages)
                 : "r1", "r2", "memory");
    return before < 1000 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int arena_one(struct xdp_md *ctx)
{
    return count();
}

SEC("xdp")
int arena_two(struct xdp_md *ctx)
{
    return count();
}

char LICENSE[] SEC("license") = "GPL";
