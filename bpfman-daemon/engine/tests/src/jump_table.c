// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
/* Jumps by a table, as clang 23 emits it with -mcpu=v4; in assembly, for older compilers. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Passes packets of even length, and drops those of odd length. */
asm("	.section xdp,\"ax\",@progbits\n"
    "	.globl jumps\n"
    "	.type jumps,@function\n"
    "jumps:\n"
    "	r2 = *(u32 *)(r1 + 4)\n"
    "	r1 = *(u32 *)(r1 + 0)\n"
    "	r2 -= r1\n"
    "	r2 &= 1\n"
    "	r2 <<= 3\n"
    "	r1 = BPF.JT.0.0 ll\n"
    "	r1 += r2\n"
    "	r1 = *(u64 *)(r1 + 0)\n"
    "	.byte 0x0d, 1, 0, 0, 0, 0, 0, 0\n" /* gotox r1 */
    "	r0 = 2\n"
    "	exit\n"
    "	r0 = 1\n"
    "	exit\n"
    "	.size jumps, . - jumps\n"
    "	.section .jumptables,\"\",@progbits\n"
    "	.globl BPF.JT.0.0\n"
    "	.type BPF.JT.0.0,@object\n"
    "BPF.JT.0.0:\n"
    "	.quad 10 * 8\n"
    "	.quad 12 * 8\n"
    "	.size BPF.JT.0.0, 16\n");

char LICENSE[] SEC("license") = "GPL";
