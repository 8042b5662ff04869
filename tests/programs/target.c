// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A process to be probed: executes one command for every line that it reads.
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <fcntl.h>
#include <unistd.h>

static char line[64];
static char *returns_to;
// Data outside of executable segments.
__attribute__((used)) const volatile char marker[] = "unchanged";
int main(void);

__attribute__((noinline)) int probed(int value)
{
    returns_to = __builtin_return_address(0);
    puts("inside");
    return fgets(line, sizeof line, stdin) ? value + 1 : 0;
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "enter\n")) {
            int result = probed(1);
            puts(result == 2 ? "left" : "cut off");
        } else if (!strcmp(line, "priority\n")) {
            getpriority(PRIO_PROCESS, 0);
            puts("done");
        } else if (!strcmp(line, "session\n")) {
            getsid(0);
            puts("done");
        } else if (!strcmp(line, "open\n")) {
            close(open("/dev/null", O_RDONLY));
            puts("done");
        } else if (!strcmp(line, "returned\n")) {
            // Under a return probe, the return address is the kernel's trampoline.
            puts((unsigned long)(returns_to - (char *)main) < 4096 ? "into main" : "elsewhere");
        } else if (!strcmp(line, "marker\n")) {
            puts((const char *)marker);
        }
    }
    return 0;
}
