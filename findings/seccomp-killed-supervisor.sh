#!/usr/bin/env bash
# what: a seccomp supervisor that is killed while it gives a descriptor and answers in one step makes the call return 0
#
# Expected: SECCOMP_ADDFD_FLAG_SEND (Linux 5.14) adds a descriptor to a caller and answers its call with the number in one
#           step, so that the caller has both or neither.
# Is: if the supervisor gets a fatal signal while the ioctl waits for the caller, the descriptor is not added, but the call
#     counts as answered, with the value 0 that no program set. The caller takes its standard input for the new object. Who
#     keeps the listener open in another process to survive such a kill answers in two steps: add, then send.
# Versions: Linux 6.18, gcc 14.2 (Debian 13)
# Seen: 2026-11-30
. "$(dirname "$0")/lib.sh"

debian trixie gcc libc6-dev
cat > "$root/work/killed.c" << 'END'
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct counts { long calls, zeroes; };

static int install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {4, code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static int pass(int end, int given)
{
	char space[CMSG_SPACE(sizeof given)] = {0}, byte = 0;
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	if (given < 0) {
		recvmsg(end, &message, 0);
		memcpy(&given, CMSG_DATA(head), sizeof given);
		return given;
	}
	*head = (struct cmsghdr){CMSG_LEN(sizeof given), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(head), &given, sizeof given);
	return sendmsg(end, &message, 0);
}

static void call(int end, struct counts *counts)
{
	pass(end, install());
	for (;;) {
		long number = syscall(SYS_memfd_create, "x", 0);

		counts->calls++;
		counts->zeroes += number == 0;
		if (number > 2)
			close(number);
	}
}

static void supervise(int listener, int one_step)
{
	for (;;) {
		struct seccomp_notif call = {0};
		struct seccomp_notif_addfd add = {.flags = one_step ? SECCOMP_ADDFD_FLAG_SEND : 0, .srcfd = listener};
		struct seccomp_notif_resp answer = {0};

		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
			continue;
		answer.id = add.id = call.id;
		answer.val = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
		if (!one_step)
			ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

int main(int argc, char **argv)
{
	int one_step = argc > 1 && !strcmp(argv[1], "one"), rounds = argc > 2 ? atoi(argv[2]) : 1, pair[2];
	struct counts *counts = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	for (int round = 0; round < rounds; round++) {
		pid_t caller = fork();

		if (!caller)
			call(pair[1], counts);
		int listener = pass(pair[0], -1);
		pid_t supervisor = fork();
		if (!supervisor)
			supervise(listener, one_step);
		usleep(1000 + rand() % 2000);
		kill(supervisor, SIGKILL);
		waitpid(supervisor, NULL, 0);
		usleep(500);
		kill(caller, SIGKILL);
		close(listener);
		waitpid(caller, NULL, 0);
	}
	printf("%ld calls, %ld returned 0\n", counts->calls, counts->zeroes);
	return 0;
}
END
inside "$root" gcc -static -O2 -o killed killed.c || cannot "gcc does not compile"
versions "Linux $(uname -r), $(inside "$root" gcc --version | head -1)"
# A round is a kill at a random moment; 0 is never a free number, since standard input is open.
show "$root/work/killed" one 1000
one=$shown
show "$root/work/killed" two 1000
two=$shown
fact "in one step, calls return 0" eval '[ "${one##*, }" != "0 returned 0" ]'
fact "in two steps, none does" eval '[ "${two##*, }" = "0 returned 0" ]'
finish
