// Sends a request for an XDP program on a socket that was opened before the process moved to another network namespace:
// raw_route INDEX. Prints the kernel's or the supervisor's error number, 0 for none.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct bpf_insn code[2] = {{.code = 0xb7, .imm = 2}, {.code = 0x95}};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP, .insn_cnt = 2, .insns = (uintptr_t)code, .license = (uintptr_t) "GPL",
	};
	int program = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, 128);
	int socket_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct nlattr xdp, descriptor;
		int number;
		struct nlattr flags;
		uint32_t mode;
	} request = {
		.header = {sizeof request, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		.link = {.ifi_index = argc > 1 ? atoi(argv[1]) : 1},
		.xdp = {20, IFLA_XDP | NLA_F_NESTED},
		.descriptor = {8, IFLA_XDP_FD},
		.flags = {8, IFLA_XDP_FLAGS},
		.mode = 2,
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[512];
	} answer;

	if (program < 0 || socket_ < 0)
		return 1;
	request.number = program;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		perror("unshare");
		return 3;
	}
	if (sendto(socket_, &request, sizeof request, 0, NULL, 0) < 0) {
		printf("%d\n", errno);
		return 0;
	}
	if (recv(socket_, &answer, sizeof answer, 0) < 0)
		return 2;
	printf("%d\n", -answer.error.error);
	return 0;
}
