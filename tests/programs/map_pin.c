// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
#define _GNU_SOURCE
// Acts like a container with a map of a volume: opens its pin and reads or writes the first entry of an array of
// 8-byte values. `map_pin PIN read` opens it for reading only, `map_pin PIN write NUMBER` for both, by bpf(2) without
// any library. `map_pin PIN again NEW` opens it for reading only, pins it again at NEW, and opens that for both.
// `map_pin PIN insert OUTER` opens it for reading only and inserts it at index 0 of the map of maps OUTER. Prints the
// number, or the failed step and its errno.
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int failed(const char *step)
{
    printf("%s: %s\n", step, strerrorname_np(errno));
    return 1;
}

static int opened(const char *path, unsigned int flags)
{
    union bpf_attr open = {};

    open.pathname = (unsigned long)path;
    open.file_flags = flags;
    return syscall(SYS_bpf, BPF_OBJ_GET, &open, sizeof open);
}

// A map that was opened for reading is pinned at another path, which is opened for writing.
static int again(int map, const char *path)
{
    union bpf_attr pin = {};

    pin.pathname = (unsigned long)path;
    pin.bpf_fd = map;
    if (syscall(SYS_bpf, BPF_OBJ_PIN, &pin, sizeof pin) < 0)
        return failed("pin");
    if (opened(path, 0) < 0)
        return failed("open again");
    puts("opened for writing");
    return 0;
}

static int insert(int map, const char *path)
{
    union bpf_attr access = {};
    unsigned int key = 0;
    int outer = opened(path, 0);

    if (outer < 0)
        return failed("open outer");
    access.map_fd = outer;
    access.key = (unsigned long)&key;
    access.value = (unsigned long)&map;
    if (syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &access, sizeof access) < 0)
        return failed("insert");
    puts("inserted");
    return 0;
}

int main(int count, char **words)
{
    int writes = count == 4 && !strcmp(words[2], "write");
    unsigned int key = 0;
    unsigned long long value = writes ? strtoull(words[3], NULL, 10) : 0;
    union bpf_attr open = {}, access = {};

    if (count == 4 && !writes) {
        int map = opened(words[1], BPF_F_RDONLY);

        if (map < 0)
            return failed("open");
        return !strcmp(words[2], "again") ? again(map, words[3]) : insert(map, words[3]);
    }
    if (!writes && (count != 3 || strcmp(words[2], "read")))
        return 2;
    open.pathname = (unsigned long)words[1];
    open.file_flags = writes ? 0 : BPF_F_RDONLY;
    access.map_fd = syscall(SYS_bpf, BPF_OBJ_GET, &open, sizeof open);
    if ((int)access.map_fd < 0)
        return failed("open");
    access.key = (unsigned long)&key;
    access.value = (unsigned long)&value;
    if (syscall(SYS_bpf, writes ? BPF_MAP_UPDATE_ELEM : BPF_MAP_LOOKUP_ELEM, &access, sizeof access) < 0)
        return failed(words[2]);
    printf("%llu\n", value);
    return 0;
}
