// Calls by which a command reaches beyond its grant. Prints error numbers, 0 for none:
//   raw_reach helper TYPE NUMBER   a load of a program that calls a helper
//   raw_reach stand-in TYPE        a load of a constant program, and the type of the program that is returned
//   raw_reach group FOLDER         an attachment to a cgroup that replaces another program
//   raw_reach uprobe FILE OFFSET   an event of a function
//   raw_reach lengths              the information about a program, with buffers that are too long together
//   raw_reach expected INDEX       XDP at an interface by netlink, and its replacement by another program
//   raw_reach process PID          an event of a process
//   raw_reach events COUNT         events of one tracepoint
//   raw_reach maps COUNT           maps that are closed at once
//   raw_reach key NAME             adds a key to the session's keyring: 0, or 1 if it exists
//   raw_reach filtered COMMAND...  a command under a filter that allows everything
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attr)
{
	int result = syscall(SYS_bpf, command, attr, 128);

	return result < 0 ? -errno : result;
}

static int load(int type, int attach, struct bpf_insn *code, int count)
{
	union bpf_attr attr = {
		.prog_type = type, .insn_cnt = count, .insns = (uintptr_t)code, .license = (uintptr_t) "GPL",
		.expected_attach_type = attach,
	};

	return bpf(BPF_PROG_LOAD, &attr);
}

static int constant(int type, int attach, int value)
{
	struct bpf_insn code[2] = {{.code = 0xb7, .imm = value}, {.code = 0x95}};

	return load(type, attach, code, 2);
}

static int helper(int type, int number)
{
	struct bpf_insn code[] = {
		{.code = 0xb7, .dst_reg = 1, .imm = 1}, {.code = 0xb7, .dst_reg = 2, .imm = 0},
		{.code = 0x85, .imm = number}, {.code = 0xb7, .imm = 0}, {.code = 0x95},
	};
	int program = load(type, 0, code, 5);

	return program < 0 ? -program : 0;
}

static int type_of(int program)
{
	struct bpf_prog_info info = {0};
	union bpf_attr attr = {.info.bpf_fd = program, .info.info_len = sizeof info, .info.info = (uintptr_t)&info};

	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) < 0 ? -1 : (int)info.type;
}

static int lengths(int program)
{
	uint32_t length = 16 << 20;
	struct bpf_prog_info info = {
		.jited_prog_len = length, .jited_prog_insns = (uintptr_t)malloc(length),
		.xlated_prog_len = length, .xlated_prog_insns = (uintptr_t)malloc(length),
		.nr_map_ids = length / 4, .map_ids = (uintptr_t)malloc(length),
	};
	union bpf_attr attr = {.info.bpf_fd = program, .info.info_len = sizeof info, .info.info = (uintptr_t)&info};
	int result = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);

	return result < 0 ? -result : info.xlated_prog_len == 16 ? 0 : 1;
}

static int set(int socket_, int index, int count, const int *pairs)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct nlattr xdp;
		struct { struct nlattr head; int value; } parts[4];
	} request = {
		.header = {0, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
		.link = {.ifi_index = index},
		.xdp = {4 + 8 * count, IFLA_XDP | NLA_F_NESTED},
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[512];
	} answer;

	for (int i = 0; i < count; i++) {
		request.parts[i].head = (struct nlattr){8, pairs[2 * i]};
		request.parts[i].value = pairs[2 * i + 1];
	}
	request.header.nlmsg_len = 36 + 8 * count;
	if (sendto(socket_, &request, request.header.nlmsg_len, 0, NULL, 0) < 0)
		return errno;
	return recv(socket_, &answer, sizeof answer, 0) < 0 ? errno : -answer.error.error;
}

static int event(int type, uint64_t config, uint64_t config1, uint64_t config2, int cpu)
{
	uint64_t attr[14] = {type | (uint64_t)112 << 32, config, 1};

	attr[7] = config1;
	attr[8] = config2;
	return syscall(SYS_perf_event_open, attr, -1, cpu, -1, 0);
}

static int number_in(const char *path)
{
	int number = -1;
	FILE *file = fopen(path, "r");

	if (file) {
		if (fscanf(file, "%d", &number) != 1)
			number = -1;
		fclose(file);
	}
	return number;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int number = argc > 2 ? atoi(argv[2]) : 0;

	if (!strcmp(what, "helper")) {
		printf("%d\n", helper(number, atoi(argv[3])));
	} else if (!strcmp(what, "stand-in")) {
		int program = constant(number, number == BPF_PROG_TYPE_XDP ? BPF_XDP : 0, 1);

		printf("%d %d\n", program < 0 ? -program : 0, type_of(program));
	} else if (!strcmp(what, "group")) {
		union bpf_attr attr = {
			.target_fd = open(argv[2], O_RDONLY | O_DIRECTORY),
			.attach_bpf_fd = constant(BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS, 1),
			.attach_type = BPF_CGROUP_INET_EGRESS,
		};

		printf("%d\n", -bpf(BPF_PROG_ATTACH, &attr));
	} else if (!strcmp(what, "uprobe")) {
		int type = number_in("/sys/bus/event_source/devices/uprobe/type");

		printf("%d\n", event(type, 0, (uintptr_t)argv[2], strtoul(argv[3], NULL, 0), 0) < 0 ? errno : 0);
	} else if (!strcmp(what, "process")) {
		uint64_t attr[14] = {PERF_TYPE_SOFTWARE | (uint64_t)112 << 32, PERF_COUNT_SW_CONTEXT_SWITCHES};

		printf("%d\n", syscall(SYS_perf_event_open, attr, number, -1, -1, 0) < 0 ? errno : 0);
	} else if (!strcmp(what, "lengths")) {
		printf("%d\n", lengths(constant(BPF_PROG_TYPE_XDP, 0, 2)));
	} else if (!strcmp(what, "expected")) {
		int first = constant(BPF_PROG_TYPE_XDP, 0, 2), second = constant(BPF_PROG_TYPE_XDP, 0, 2);
		int route = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
		int one = set(route, number, 2, (int[]){IFLA_XDP_FD, first, IFLA_XDP_FLAGS, 2});
		int two = set(route, number, 3,
			(int[]){IFLA_XDP_EXPECTED_FD, first, IFLA_XDP_FD, second, IFLA_XDP_FLAGS, 2 | 16});

		printf("%d %d\n", one, two);
	} else if (!strcmp(what, "events")) {
		int id = number_in("/sys/kernel/tracing/events/syscalls/sys_enter_write/id"), opened = 0;

		for (int i = 0; i < number; i++) {
			int one = event(PERF_TYPE_TRACEPOINT, id, 0, 0, 0);

			opened += one >= 0;
			close(one);
		}
		printf("%d\n", opened);
	} else if (!strcmp(what, "maps")) {
		int made = 0;

		for (int i = 0; i < number; i++) {
			union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
			int map = bpf(BPF_MAP_CREATE, &attr);

			made += map >= 0;
			close(map);
		}
		printf("%d\n", made);
	} else if (!strcmp(what, "key")) {
		int ring = KEY_SPEC_SESSION_KEYRING;
		int was_there = syscall(SYS_keyctl, KEYCTL_SEARCH, ring, "user", argv[2], 0) > 0;

		if (!was_there && syscall(SYS_add_key, "user", argv[2], "x", 1, ring) < 0)
			return 3;
		printf("%d\n", was_there);
	} else if (!strcmp(what, "filtered")) {
		struct sock_filter code = {.code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW};
		struct sock_fprog filter = {1, &code};

		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0)
			execvp(argv[2], argv + 2);
		return 4;
	} else {
		return 2;
	}
	return 0;
}
