// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
#define _GNU_SOURCE
// A local process that gets an array map of 8-byte values from the daemon: `take_map SOCKET ID HOW [WORD]`, without
// any library. It prints the result of each step, one word a line.
//
//   read             opens it for reading, reads the first entry, writes it, maps it into memory
//   write NUMBER     opens it for writing, writes the first entry
//   insert OUTER     opens it for reading, opens the map of maps OUTER for writing, and inserts it at index 0 there
//   spoil            opens it for reading, freezes, empties and writes it by each other command that the kernel has
//   twice            requests it twice on one connection
//   keep             opens it for reading; then reads the first entry each time that a line comes
//   hoard COUNT      requests it on that many connections, peeks at each answer, shuts the connection down and keeps it
//                    with the unread descriptor, until its input ends
//   raw HEX          sends these bytes instead of a request, and writes the answer in HEX
#include <errno.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char *socket_path;

static void tell(const char *step, int failed)
{
    printf("%s: %s\n", step, failed ? strerrorname_np(errno) : "ok");
    fflush(stdout);
}

static int connected(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(address.sun_path, socket_path, sizeof address.sun_path - 1);
    if (connect(fd, (void *)&address, sizeof address) < 0) {
        tell("connect", 1);
        exit(1);
    }
    return fd;
}

// HandoverRequest { open_for_reading = 1 | open_for_writing = 2: OpenMapRequest { map_id = 1 } }
static int request(unsigned char *out, unsigned int id, int writes)
{
    unsigned char *at = out + 4, *inner;

    *at++ = (writes ? 2 : 1) << 3 | 2;
    inner = at++;
    *at++ = 1 << 3;
    for (; id >= 128; id >>= 7)
        *at++ = id | 128;
    *at++ = id;
    *inner = at - inner - 1;
    memcpy(out, (unsigned char[]){0, 0, 0, at - out - 4}, 4);
    return at - out;
}

static void ask(int fd, unsigned int id, int writes)
{
    unsigned char bytes[64] = "bpfman-handover/1\n";
    int length = 18 + request(bytes + 18, id, writes);

    // If the daemon refuses the connection at once, `take` reports the missing answer.
    if (send(fd, bytes, length, MSG_NOSIGNAL) != length && errno != EPIPE)
        tell("ask", 1);
}

// Returns the received descriptor, or -1. Prints the message of a failure.
static int take(int fd)
{
    char bytes[8192], control[CMSG_SPACE(sizeof(int))];
    struct iovec place = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &place, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    if (header && header->cmsg_type == SCM_RIGHTS) {
        int map;

        memcpy(&map, CMSG_DATA(header), sizeof map);
        tell("took", 0);
        return map;
    }
    printf("nothing: ");
    for (ssize_t place = 4; place < length; place++)
        if (bytes[place] >= ' ' && bytes[place] <= '~')
            putchar(bytes[place]);
    printf("\n");
    return -1;
}

static void look_up(int map)
{
    union bpf_attr access = {};
    unsigned int key = 0;
    unsigned long long value = 0;

    access.map_fd = map;
    access.key = (unsigned long)&key;
    access.value = (unsigned long)&value;
    if (syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &access, sizeof access) < 0)
        tell("lookup", 1);
    else
        printf("%llu\n", value);
    fflush(stdout);
}

static void update(int map, unsigned long long value)
{
    union bpf_attr access = {};
    unsigned int key = 0;

    access.map_fd = map;
    access.key = (unsigned long)&key;
    access.value = (unsigned long)&value;
    tell("update", syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &access, sizeof access) < 0);
}

static void try_batch(int map, const char *step, int command)
{
    union bpf_attr access = {};
    unsigned int key = 0;
    unsigned long long value = 17, next = 0;

    access.batch.map_fd = map;
    access.batch.keys = (unsigned long)&key;
    access.batch.values = (unsigned long)&value;
    access.batch.out_batch = (unsigned long)&next;
    access.batch.count = 1;
    tell(step, syscall(SYS_bpf, command, &access, sizeof access) < 0);
}

static void spoil(int map)
{
    union bpf_attr frozen = {.map_fd = map}, access = {};
    unsigned int key = 0;
    unsigned long long value = 0;

    tell("freeze", syscall(SYS_bpf, BPF_MAP_FREEZE, &frozen, sizeof frozen) < 0);
    access.map_fd = map;
    access.key = (unsigned long)&key;
    tell("delete", syscall(SYS_bpf, BPF_MAP_DELETE_ELEM, &access, sizeof access) < 0);
    access.value = (unsigned long)&value;
    tell("take out", syscall(SYS_bpf, BPF_MAP_LOOKUP_AND_DELETE_ELEM, &access, sizeof access) < 0);
    try_batch(map, "update many", BPF_MAP_UPDATE_BATCH);
    try_batch(map, "delete many", BPF_MAP_DELETE_BATCH);
    try_batch(map, "take out many", BPF_MAP_LOOKUP_AND_DELETE_BATCH);
}

static void raw(const char *hex)
{
    unsigned char bytes[8192];
    int count = 0, fd = connected();
    ssize_t length;

    for (; hex[0] && hex[1]; hex += 2)
        sscanf(hex, "%2hhx", &bytes[count++]);
    send(fd, bytes, count, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    while ((length = recv(fd, bytes, sizeof bytes, 0)) > 0)
        for (ssize_t place = 0; place < length; place++)
            printf("%02x", bytes[place]);
    printf("\n");
}

int main(int count, char **words)
{
    const char *how = count > 3 ? words[3] : "";
    unsigned int id = count > 2 ? strtoul(words[2], NULL, 10) : 0;
    int map, fd;
    char line[16];

    socket_path = words[1];
    if (!strcmp(how, "raw")) {
        raw(words[4]);
    } else if (!strcmp(how, "hoard")) {
        for (int number = 0; number < atoi(words[4]); number++) {
            ask(fd = connected(), id, 0);
            recv(fd, line, 1, MSG_PEEK);
            shutdown(fd, SHUT_RDWR);
        }
        puts("asked");
        fflush(stdout);
        while (fgets(line, sizeof line, stdin))
            ;
    } else {
        int writes = !strcmp(how, "write");

        ask(fd = connected(), id, writes);
        if ((map = take(fd)) < 0)
            return 1;
        if (!strcmp(how, "read")) {
            look_up(map);
            update(map, 17);
            tell("mmap", mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0) == MAP_FAILED);
        } else if (!strcmp(how, "insert")) {
            int outer;

            ask(fd = connected(), strtoul(words[4], NULL, 10), 1);
            if ((outer = take(fd)) < 0)
                return 1;
            update(outer, map);
        } else if (!strcmp(how, "spoil")) {
            spoil(map);
        } else if (!strcmp(how, "twice")) {
            ask(fd, id, 0);
            return take(fd) >= 0;
        } else if (!strcmp(how, "keep")) {
            while (fgets(line, sizeof line, stdin))
                look_up(map);
        } else if (writes) {
            update(map, strtoull(words[4], NULL, 10));
        }
    }
    return 0;
}
