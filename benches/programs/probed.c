// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// For every line that it reads, it calls two functions a number of times, and answers.
#include <stdio.h>
#include <stdlib.h>

// An instruction, such as `ret`, that the kernel cannot emulate: it is executed out of line, with a second trap.
__attribute__((noinline)) void lone_return(void)
{
    __asm__ volatile("");
}

// Begins like functions with a frame pointer, with an instruction that the kernel emulates.
#ifdef __x86_64__
void probed(void);
__asm__(".text\n"
        ".globl probed\n"
        ".type probed, @function\n"
        "probed:\n"
        "push %rbp\n"
        "mov %rsp, %rbp\n"
        "pop %rbp\n"
        "ret\n"
        ".size probed, . - probed\n");
#else
__attribute__((noinline)) void probed(void)
{
    __asm__ volatile("nop");
}
#endif

int main(void)
{
    char line[64];

    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        for (long calls = atol(line); calls > 0; calls--) {
            probed();
            lone_return();
        }
        puts("done");
    }
    return 0;
}
