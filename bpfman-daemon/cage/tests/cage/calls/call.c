// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Installs filters of system calls, makes one call, and prints its result.
//
// Standard input: the number of filters (8 bytes); of each its length in bytes (8) and its instructions; then the number
// of the call and its six arguments (8 bytes each).
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sock_filter filters[4][4096];

static long number(void)
{
    long value;
    if (fread(&value, sizeof value, 1, stdin) != 1)
        _exit(3);
    return value;
}

int main(void)
{
    long count = number();
    struct sock_fprog programs[4];
    for (long filter = 0; filter < count; filter++) {
        long bytes = number();
        if (bytes > (long)sizeof filters[filter] || fread(filters[filter], bytes, 1, stdin) != 1)
            return 4;
        programs[filter].len = bytes / sizeof filters[filter][0];
        programs[filter].filter = filters[filter];
    }
    long call[7];
    for (int place = 0; place < 7; place++)
        call[place] = number();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return 5;
    for (long filter = 0; filter < count; filter++)
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &programs[filter]))
            return 6;
    syscall(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
    _exit(errno == ENOSYS ? 38 : 0);
}
