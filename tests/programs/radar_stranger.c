// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A process that uses eBPF without the daemon: it executes its arguments one after another, and prints a line for
// each. The argument `wait` waits for the end of standard input.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int call(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int load(int type, int is_good)
{
	// r0 = 2; exit. Without the first instruction the verifier refuses the program.
	struct bpf_insn text[] = { { .code = 0xb7, .imm = 2 }, { .code = 0x95 } };
	union bpf_attr attributes = {
		.prog_type = type,
		.insns = (unsigned long)(text + !is_good),
		.insn_cnt = 1 + is_good,
		.license = (unsigned long)"GPL",
		.prog_name = "stranger",
	};

	return call(BPF_PROG_LOAD, &attributes);
}

static unsigned int id_of(int descriptor)
{
	// The information about a program, and that about a link, begin with type and id.
	unsigned int info[2] = {};
	union bpf_attr attributes = { .info = { descriptor, sizeof(info), (unsigned long)info } };

	return call(BPF_OBJ_GET_INFO_BY_FD, &attributes) ? 0 : info[1];
}

static void result(const char *what, int descriptor)
{
	printf("%s %d\n", what, descriptor < 0 ? -errno : (int)id_of(descriptor));
	fflush(stdout);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

// Prints nanoseconds of a bpf(2) call that the radar ignores, of one that it reports, and of another call.
static void take_times(int times)
{
	union bpf_attr attributes = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	int map = call(BPF_MAP_CREATE, &attributes), key = 0, value;
	double began = now(), lookups, loads, others;

	for (int left = times; left; left--) {
		union bpf_attr lookup = { .map_fd = map, .key = (unsigned long)&key, .value = (unsigned long)&value };

		call(BPF_MAP_LOOKUP_ELEM, &lookup);
	}
	lookups = (now() - began) / times;
	began = now();
	for (int left = times / 100; left; left--)
		close(load(BPF_PROG_TYPE_XDP, 1));
	loads = (now() - began) / (times / 100);
	began = now();
	for (int left = times; left; left--)
		syscall(SYS_getppid);
	others = (now() - began) / times;
	printf("lookup %.0f load %.0f getppid %.0f\n", lookups, loads, others);
}

int main(int count, char **words)
{
	int program = -1, link = -1;
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	// Before 5.11, maps and programs of all processes of the user count as locked memory.
	setrlimit(RLIMIT_MEMLOCK, &all);

	for (int at = 1; at < count; at++) {
		const char *word = words[at];
		const char *more = at + 1 < count ? words[at + 1] : "";
		union bpf_attr attributes = {};

		if (!strcmp(word, "load")) {
			program = load(BPF_PROG_TYPE_XDP, 1);
			result(word, program);
		} else if (!strcmp(word, "socket")) {
			// A filter of a socket, which is no call of bpf(2).
			int socket_filter = load(BPF_PROG_TYPE_SOCKET_FILTER, 1);
			int end = socket(AF_INET, SOCK_DGRAM, 0);

			if (setsockopt(end, SOL_SOCKET, SO_ATTACH_BPF, &socket_filter, sizeof(socket_filter)))
				socket_filter = -1;
			result(word, socket_filter);
		} else if (!strcmp(word, "map")) {
			attributes.map_type = BPF_MAP_TYPE_ARRAY;
			attributes.key_size = attributes.value_size = 4;
			attributes.max_entries = 1;
			strcpy(attributes.map_name, "strange");
			result(word, call(BPF_MAP_CREATE, &attributes));
		} else if (!strcmp(word, "link")) {
			// At the interface of this number, by generic XDP.
			attributes.link_create.prog_fd = program;
			attributes.link_create.target_ifindex = atoi(more);
			attributes.link_create.attach_type = BPF_XDP;
			attributes.link_create.flags = XDP_FLAGS_SKB_MODE;
			link = call(BPF_LINK_CREATE, &attributes);
			result(word, link);
			at++;
		} else if (!strcmp(word, "tcx") || !strcmp(word, "tcx-off")) {
			// Attaches to the ingress of this interface without a link (Linux 6.6), and detaches. Older
			// headers have no names for an interface as the target, and for BPF_TCX_INGRESS.
			int is_on = !strcmp(word, "tcx");

			if (is_on)
				program = load(BPF_PROG_TYPE_SCHED_CLS, 1);
			attributes.target_fd = if_nametoindex(more);
			attributes.attach_bpf_fd = program;
			attributes.attach_type = 46;
			printf("%s %d\n", word, call(is_on ? BPF_PROG_ATTACH : BPF_PROG_DETACH, &attributes) ? -errno : 0);
			fflush(stdout);
			at++;
		} else if (!strcmp(word, "open-link")) {
			attributes.link_id = atoi(more);
			link = call(BPF_LINK_GET_FD_BY_ID, &attributes);
			result(word, link);
			at++;
		} else if (!strcmp(word, "detach")) {
			attributes.link_detach.link_fd = link;
			printf("%s %d\n", word, call(BPF_LINK_DETACH, &attributes) ? -errno : 0);
			fflush(stdout);
		} else if (!strcmp(word, "pin")) {
			attributes.pathname = (unsigned long)more;
			attributes.bpf_fd = program;
			printf("%s %d\n", word, call(BPF_OBJ_PIN, &attributes) ? -errno : 0);
			fflush(stdout);
			at++;
		} else if (!strcmp(word, "flood") || !strcmp(word, "refused")) {
			for (int left = atoi(more); left; left--)
				close(load(BPF_PROG_TYPE_XDP, !strcmp(word, "flood")));
			printf("%s %s\n", word, more);
			fflush(stdout);
			at++;
		} else if (!strcmp(word, "name")) {
			prctl(PR_SET_NAME, more);
			at++;
		} else if (!strcmp(word, "time")) {
			take_times(atoi(more));
			at++;
		} else if (!strcmp(word, "wait")) {
			while (getchar() != EOF)
				;
		}
	}
	return 0;
}
