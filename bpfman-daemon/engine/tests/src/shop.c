// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program with a USDT probe at three places, described by notes as compilers write them: with a semaphore, with
// arguments in registers, in memory and as numbers, and without.
#ifndef INSTRUCTION
#define INSTRUCTION "nop"
#endif
// Forms in which the assembler takes numbers, and lower halves of registers.
#ifdef __aarch64__
#define NUMBER(value) #value
#define HALF "%w"
#else
#define NUMBER(value) "$" #value
#define HALF "%"
#endif
#define PLACE(arguments, ...)                                                  \
	__asm__ volatile("990: " INSTRUCTION "\n"                              \
			 ".pushsection .note.stapsdt,\"\",\"note\"\n"          \
			 ".balign 4\n.4byte 992f-991f, 994f-993f, 3\n"         \
			 "991: .asciz \"stapsdt\"\n992: .balign 4\n"           \
			 "993: .8byte 990b\n.8byte _.stapsdt.base\n"           \
			 ".8byte shop_sold_semaphore\n"                        \
			 ".asciz \"shop\"\n.asciz \"sold\"\n"                  \
			 ".asciz \"" arguments "\"\n994: .balign 4\n"          \
			 ".popsection\n"                                       \
			 ".ifndef _.stapsdt.base\n"                            \
			 ".pushsection .stapsdt.base,\"aG\",\"progbits\","     \
			 ".stapsdt.base,comdat\n"                              \
			 ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"      \
			 "_.stapsdt.base: .space 1\n"                          \
			 ".size _.stapsdt.base, 1\n.popsection\n.endif\n"      \
			 :                                                     \
			 : __VA_ARGS__)

extern int puts(const char *);

__attribute__((section(".probes"))) volatile unsigned short shop_sold_semaphore;

int main(void)
{
	int pieces = -5;
	volatile long price = 1234567890123;

	puts(shop_sold_semaphore ? "watched" : "unwatched");
	PLACE("-4@" HALF "0 8@%1", "r"(pieces), "m"(price));
	PLACE("4@" NUMBER(7) " -1@" NUMBER(-2) " 8@%0", "r"(price));
	PLACE("", "r"(0));
	return 0;
}
