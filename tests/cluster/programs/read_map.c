// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Runs in an unprivileged pod: opens the map at a path for reading, and prints the 64-bit value of entry 0 every
// tenth of a second, a line each. If the map cannot be opened, prints the reason and exits with 1.
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long bpf(int command, union bpf_attr *attributes)
{
    return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

int main(int count, char **words)
{
    union bpf_attr open = {}, lookup = {};
    uint32_t key = 0;
    uint64_t value = 0;

    if (count != 2)
        return 2;
    open.pathname = (uintptr_t)words[1];
    open.file_flags = BPF_F_RDONLY;
    long map = bpf(BPF_OBJ_GET, &open);
    if (map < 0) {
        printf("user %d cannot open %s: %s\n", getuid(), words[1], strerror(errno));
        return 1;
    }
    lookup.map_fd = map;
    lookup.key = (uintptr_t)&key;
    lookup.value = (uintptr_t)&value;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (;;) {
        if (bpf(BPF_MAP_LOOKUP_ELEM, &lookup) < 0)
            return 1;
        printf("user %d reads %llu\n", getuid(), (unsigned long long)value);
        usleep(100000);
    }
}
