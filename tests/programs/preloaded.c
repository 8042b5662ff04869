// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A library for LD_PRELOAD: its functions are called instead of the C library's.
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int getpriority(__priority_which_t which, id_t who)
{
    return (int)syscall(SYS_getpriority, which, who);
}
