// SPDX-License-Identifier: Apache-2.0
// Prints the median time of each kind of call that `bpfman run-as` traps, and of one other, in nanoseconds.
//
//   run-as-calls [ROUNDS]
//
// Calls of a kind come in series, like those of libraries. Descriptors are closed after it: some closes wait.
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))
#define LONG_PROGRAM 200

static int map, program, raw_program;
static uint64_t tracepoint;

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int list(void)
{
	union bpf_attr attr = {};

	return bpf(BPF_PROG_GET_NEXT_ID, &attr);
}

static int describe(void)
{
	struct bpf_prog_info info = {};
	union bpf_attr attr = { .info = { .bpf_fd = program, .info_len = sizeof(info), .info = (uintptr_t)&info } };

	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

static int create_map(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1, .map_name = "bench" };

	return bpf(BPF_MAP_CREATE, &attr);
}

static int look_up(void)
{
	uint32_t key = 0;
	uint64_t value;
	union bpf_attr attr = { .map_fd = map, .key = (uintptr_t)&key, .value = (uintptr_t)&value };

	return bpf(BPF_MAP_LOOKUP_ELEM, &attr);
}

static int load(unsigned int type, unsigned int length)
{
	// r0 = 0; r0 += 1 ...; exit
	struct bpf_insn code[LONG_PROGRAM] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K } };
	union bpf_attr attr = { .prog_type = type, .insn_cnt = length, .insns = (uintptr_t)code,
				.license = (uintptr_t) "GPL", .prog_name = "bench" };

	// Not only constants: the broker loads constant programs for every user, without checks.
	for (unsigned int i = 1; i < length - 1; i++)
		code[i] = i == 1 ? (struct bpf_insn){ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ktime_get_ns } :
				   (struct bpf_insn){ .code = BPF_ALU64 | BPF_ADD | BPF_K, .imm = 1 };
	code[length - 1] = (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT };
	return bpf(BPF_PROG_LOAD, &attr);
}

static int load_short(void)
{
	return load(BPF_PROG_TYPE_TRACEPOINT, 4);
}

static int load_long(void)
{
	return load(BPF_PROG_TYPE_TRACEPOINT, LONG_PROGRAM);
}

static int open_event(void)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = tracepoint, .sample_period = 1 };

	return syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
}

static int attach(void)
{
	union bpf_attr attr = { .raw_tracepoint = { .name = (uintptr_t) "sched_process_exec", .prog_fd = raw_program } };

	return bpf(BPF_RAW_TRACEPOINT_OPEN, &attr);
}

static const struct kind {
	const char *name;
	int (*call)(void);
	int descriptor;
} kinds[] = {
	{ "next id of a program", list, 0 },
	{ "description of a program", describe, 0 },
	{ "new map", create_map, 1 },
	{ "load of 4 instructions", load_short, 1 },
	{ "load of 200 instructions", load_long, 1 },
	{ "event of a tracepoint", open_event, 1 },
	{ "link to a raw tracepoint", attach, 1 },
	{ "look-up in a map", look_up, 0 },
};

static int by_number(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

	return (first > second) - (first < second);
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int checked(int result, const char *name)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", name, strerror(errno));
		exit(1);
	}
	return result;
}

int main(int count, char **arguments)
{
	unsigned int rounds = count > 1 ? atoi(arguments[1]) : 1000;
	FILE *id = fopen("/sys/kernel/tracing/events/syscalls/sys_enter_execve/id", "r");
	uint64_t *times = calloc(KINDS * rounds, sizeof(*times));
	int *made = calloc(rounds, sizeof(*made));

	if (!times || !made || !id || fscanf(id, "%lu", &tracepoint) != 1) {
		fprintf(stderr, "the tracepoint's id cannot be read\n");
		return 1;
	}
	map = checked(create_map(), "new map");
	program = checked(load_short(), "load");
	raw_program = checked(load(BPF_PROG_TYPE_RAW_TRACEPOINT, 4), "load");
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		for (unsigned int round = 0; round < rounds; round++) {
			uint64_t begun = now();

			made[round] = checked(kinds[kind].call(), kinds[kind].name);
			times[kind * rounds + round] = now() - begun;
		}
		for (unsigned int round = 0; kinds[kind].descriptor && round < rounds; round++)
			close(made[round]);
	}
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		qsort(times + kind * rounds, rounds, sizeof(*times), by_number);
		printf("%s\t%lu\n", kinds[kind].name, times[kind * rounds + rounds / 2]);
	}
	return 0;
}
