// SPDX-License-Identifier: Apache-2.0
//
// Programs whose descriptors one process passes to another:
//   hand_out give NAME     loads a raw tracepoint and an XDP program, and passes them over an abstract socket
//   hand_out take NAME     receives them, prints "taken", attaches and runs them by bpf(2), and prints each result
//   hand_out use           loads them, and makes the same calls with them
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { TRACES, FILTERS, PROGRAMS };

static int bpf(int command, union bpf_attr *attributes)
{
	return (int)syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int load(int type)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = type == BPF_PROG_TYPE_XDP ? XDP_PASS : 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attributes = { .prog_type = type, .insn_cnt = 2, .insns = (long)code, .license = (long)"GPL" };

	return bpf(BPF_PROG_LOAD, &attributes);
}

static void say(const char *call, int result)
{
	printf("%s: %s\n", call, result < 0 ? strerror(errno) : "done");
	if (result > 0)
		close(result);
}

static void use(const int *programs)
{
	static const char traced[] = "sched_switch";
	union bpf_attr open = { .raw_tracepoint = { .name = (long)traced, .prog_fd = programs[TRACES] } };
	union bpf_attr link = { .link_create = {
		.prog_fd = programs[FILTERS], .target_ifindex = if_nametoindex("m0"), .attach_type = BPF_XDP } };
	union bpf_attr update = { .link_update = { .link_fd = -1, .new_prog_fd = programs[FILTERS] } };
	union bpf_attr attach = { .target_fd = -1, .attach_bpf_fd = programs[FILTERS], .attach_type = BPF_CGROUP_DEVICE };
	char packet[64] = { 0 };
	union bpf_attr run = { .test = {
		.prog_fd = programs[FILTERS], .data_in = (long)packet, .data_size_in = sizeof(packet), .repeat = 1 } };

	say("RAW_TRACEPOINT_OPEN", bpf(BPF_RAW_TRACEPOINT_OPEN, &open));
	say("LINK_CREATE", bpf(BPF_LINK_CREATE, &link));
	say("PROG_TEST_RUN", bpf(BPF_PROG_TEST_RUN, &run));
	// These descriptors do not exist: the test checks whether the gate or the kernel refuses the call.
	say("LINK_UPDATE", bpf(BPF_LINK_UPDATE, &update));
	say("PROG_ATTACH", bpf(BPF_PROG_ATTACH, &attach));
}

int main(int count, char **words)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int programs[PROGRAMS], socket_ = socket(AF_UNIX, SOCK_SEQPACKET, 0), gives;
	char byte = 0, control[CMSG_SPACE(sizeof(programs))] = { 0 };
	struct iovec bytes = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *beside = CMSG_FIRSTHDR(&message);
	socklen_t length;

	if (count == 2 && !strcmp(words[1], "use")) {
		programs[TRACES] = load(BPF_PROG_TYPE_RAW_TRACEPOINT);
		programs[FILTERS] = load(BPF_PROG_TYPE_XDP);
		use(programs);
		return 0;
	}
	if (count != 3 || strlen(words[2]) > sizeof(name.sun_path) - 2)
		return 2;
	gives = !strcmp(words[1], "give");
	strcpy(name.sun_path + 1, words[2]);
	length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(words[2]);
	if (gives) {
		programs[TRACES] = load(BPF_PROG_TYPE_RAW_TRACEPOINT);
		programs[FILTERS] = load(BPF_PROG_TYPE_XDP);
		*beside = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(programs)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
		memcpy(CMSG_DATA(beside), programs, sizeof(programs));
		while (connect(socket_, (void *)&name, length))
			if (errno != ECONNREFUSED || usleep(50000))
				return perror("connect"), 1;
		if (sendmsg(socket_, &message, 0) != 1)
			return perror("sendmsg"), 1;
		return 0;
	}
	if (bind(socket_, (void *)&name, length) || listen(socket_, 1))
		return perror("listen"), 1;
	socket_ = accept(socket_, NULL, NULL);
	if (recvmsg(socket_, &message, 0) != 1 || beside->cmsg_len != CMSG_LEN(sizeof(programs)))
		return perror("recvmsg"), 1;
	memcpy(programs, CMSG_DATA(beside), sizeof(programs));
	puts("taken");
	use(programs);
	return 0;
}
