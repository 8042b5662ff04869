// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// For every line that it reads it calls one function so many times, and answers.
#include <stdio.h>
#include <stdlib.h>

__attribute__((noinline)) void probed(void)
{
    __asm__ volatile("");
}

int main(void)
{
    char line[64];

    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        for (long calls = atol(line); calls > 0; calls--)
            probed();
        puts("done");
    }
    return 0;
}
