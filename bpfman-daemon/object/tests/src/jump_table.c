/* A jump table as clang 23 compiles it from a dense switch with -mcpu=v4; in assembly, for older compilers. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

asm("	.section xdp,\"ax\",@progbits\n"
    "	.type first,@function\n" /* so that the function with the table does not begin its section */
    "first:\n"
    "	r0 = 2\n"
    "	exit\n"
    "	.size first, . - first\n"
    "	.globl jumps\n"
    "	.type jumps,@function\n"
    "jumps:\n"
    "	r2 = *(u32 *)(r1 + 16)\n"
    "	r2 &= 1\n"
    "	r2 <<= 3\n"
    "	r1 = BPF.JT.0.0 ll\n"
    "	r1 += r2\n"
    "	r1 = *(u64 *)(r1 + 0)\n"
    "	.byte 0x0d, 1, 0, 0, 0, 0, 0, 0\n" /* gotox r1 */
    "	r0 = 1\n"
    "	exit\n"
    "	r0 = 2\n"
    "	exit\n"
    "	.size jumps, . - jumps\n"
    "	.section .jumptables,\"\",@progbits\n"
    "	.globl BPF.JT.0.0\n"
    "	.type BPF.JT.0.0,@object\n"
    "BPF.JT.0.0:\n"
    "	.quad 16 + 8 * 8\n"
    "	.quad 16 + 10 * 8\n"
    "	.size BPF.JT.0.0, 16\n");

char LICENSE[] SEC("license") = "GPL";
