// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Sends live frames (BPF_PROG_TEST_RUN, Linux 5.18) out of an interface, and prints the CPU time.
//
//     live_frames gro INTERFACE                          lets it take redirected frames without an XDP program
//     live_frames send INTERFACE FRAMES LENGTH WINDOW    sends
//
// FRAMES is a file of frames of LENGTH bytes each, a power of two of them, that differ in the WIDTH bytes from WINDOW on.
// These bytes are written for each frame: the kernel reuses frames, and a receiver that forwards a frame changes it.
// For each line on standard input, a number of frames and the maximum number in flight, it sends them in turn, and
// answers with a line: nanoseconds of CPU time of this thread and of ksoftirqd, which takes over when there is much
// to receive. It stays on one CPU, so that the other end of a veth pair receives the frames there too.
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WIDTH 64
#define INSN(c, d, s, o, i) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }

#define WORD(n)                                                       \
	INSN(BPF_LDX | BPF_DW | BPF_MEM, 0, 5, 8 + 8 * (n), 0),       \
		INSN(BPF_STX | BPF_DW | BPF_MEM, 2, 0, window + 8 * (n), 0)

static char ksoftirqd[64];

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static void find_ksoftirqd(int cpu)
{
	char wanted[32], name[32] = "", path[300];
	struct dirent *entry;
	DIR *processes = opendir("/proc");

	snprintf(wanted, sizeof(wanted), "ksoftirqd/%d\n", cpu);
	while (processes && (entry = readdir(processes))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		FILE *comm = fopen(path, "r");

		if (!comm)
			continue;
		if (fgets(name, sizeof(name), comm) && !strcmp(name, wanted)) {
			snprintf(ksoftirqd, sizeof(ksoftirqd), "/proc/%.20s", entry->d_name);
			fclose(comm);
			closedir(processes);
			return;
		}
		fclose(comm);
	}
	errx(1, "no ksoftirqd of CPU %d", cpu);
}

static void read_of_ksoftirqd(const char *file, char *text, size_t size)
{
	char path[96];
	ssize_t length;

	snprintf(path, sizeof(path), "%s/%s", ksoftirqd, file);
	int fd = open(path, O_RDONLY);

	if (fd < 0 || (length = read(fd, text, size - 1)) <= 0)
		err(1, "%s", path);
	text[length] = 0;
	close(fd);
}

// Waits until sent frames are received: their cost is part of the measurement.
static void let_ksoftirqd_finish(void)
{
	char text[512], *state;

	do {
		sched_yield();
		read_of_ksoftirqd("stat", text, sizeof(text));
		state = strrchr(text, ')');
	} while (state && state[2] == 'R');
}

static unsigned long long cpu_time(void)
{
	char text[128];
	struct timespec own;

	read_of_ksoftirqd("schedstat", text, sizeof(text));
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own);
	return strtoull(text, NULL, 10) + own.tv_sec * 1000000000ULL + own.tv_nsec;
}

// Makes an array with one value, a counter and then the windows, so that the program needs no lookup.
static int windows_map(const char *frames, int count, int length, int window)
{
	union bpf_attr attr;
	int map, key = 0;
	char *value = calloc(1, 8 + count * WIDTH);

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 8 + count * WIDTH;
	attr.max_entries = 1;
	map = bpf(BPF_MAP_CREATE, &attr);
	if (map < 0 || !value)
		err(1, "cannot make the map of %d frames", count);
	for (int i = 0; i < count; i++)
		memcpy(value + 8 + i * WIDTH, frames + (size_t)i * length + window, WIDTH);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	attr.key = (unsigned long)&key;
	attr.value = (unsigned long)value;
	if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
		err(1, "cannot fill the map of frames");
	free(value);
	return map;
}

// Puts the next window into the frame and sends it: bpf_redirect(interface, 0).
static int generator(int map, int count, int window, int interface)
{
	static char log[65536];
	struct bpf_insn insns[] = {
		INSN(BPF_LDX | BPF_W | BPF_MEM, 2, 1, 0, 0),
		INSN(BPF_LDX | BPF_W | BPF_MEM, 3, 1, 4, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 4, 2, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, window + WIDTH),
		INSN(BPF_JMP | BPF_JGT | BPF_X, 4, 3, 8 + 2 * WIDTH / 8, 0),
		INSN(BPF_LD | BPF_DW | BPF_IMM, 5, BPF_PSEUDO_MAP_VALUE, 0, map),
		INSN(0, 0, 0, 0, 0),
		INSN(BPF_LDX | BPF_DW | BPF_MEM, 0, 5, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 0, 0, 0, 1),
		INSN(BPF_STX | BPF_DW | BPF_MEM, 5, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_AND | BPF_K, 0, 0, 0, count - 1),
		INSN(BPF_ALU64 | BPF_MUL | BPF_K, 0, 0, 0, WIDTH),
		INSN(BPF_ALU64 | BPF_ADD | BPF_X, 5, 0, 0, 0),
		WORD(0), WORD(1), WORD(2), WORD(3), WORD(4), WORD(5), WORD(6), WORD(7),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 0, interface),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr;
	int program;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = sizeof(insns) / sizeof(*insns);
	attr.license = (unsigned long)"GPL";
	attr.log_buf = (unsigned long)log;
	attr.log_size = sizeof(log);
	attr.log_level = 1;
	program = bpf(BPF_PROG_LOAD, &attr);
	if (program < 0)
		err(1, "the generator does not load: %s", log);
	return program;
}

static void send_frames(char **words)
{
	int length = atoi(words[2]), window = atoi(words[3]), interface = if_nametoindex(words[0]);
	int file = open(words[1], O_RDONLY), here = sched_getcpu();
	unsigned int repeat, batch;
	struct stat status;
	cpu_set_t cpus;
	char *frames;

	if (!interface || file < 0 || fstat(file, &status))
		err(1, "%s, %s", words[0], words[1]);
	frames = malloc(status.st_size);
	if (!frames || read(file, frames, status.st_size) != status.st_size)
		err(1, "cannot read %s", words[1]);
	CPU_ZERO(&cpus);
	CPU_SET(here, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		err(1, "cannot stay on CPU %d", here);
	find_ksoftirqd(here);

	int count = status.st_size / length, map = windows_map(frames, count, length, window);
	int program = generator(map, count, window, interface);

	while (scanf("%u %u", &repeat, &batch) == 2) {
		struct xdp_md context = { .data_end = length };
		union bpf_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.test.prog_fd = program;
		attr.test.data_in = (unsigned long)frames;
		attr.test.data_size_in = length;
		attr.test.repeat = repeat;
		attr.test.ctx_in = (unsigned long)&context;
		attr.test.ctx_size_in = sizeof(context);
		attr.test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
		attr.test.batch_size = batch;

		unsigned long long start = cpu_time();

		if (bpf(BPF_PROG_TEST_RUN, &attr))
			err(1, "cannot send live frames");
		let_ksoftirqd_finish();
		printf("%llu\n", cpu_time() - start);
		fflush(stdout);
	}
}

static void receive_redirected(const char *interface)
{
	struct ethtool_value value = { .cmd = ETHTOOL_SGRO, .data = 1 };
	struct ifreq request = { .ifr_data = (void *)&value };
	int socket_fd = socket(AF_INET, SOCK_DGRAM, 0);

	strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
	if (ioctl(socket_fd, SIOCETHTOOL, &request))
		err(1, "cannot set %s", interface);
}

int main(int count, char **words)
{
	if (count == 3 && !strcmp(words[1], "gro"))
		receive_redirected(words[2]);
	else if (count == 6 && !strcmp(words[1], "send"))
		send_frames(words + 2);
	else
		errx(2, "usage: live_frames gro INTERFACE | send INTERFACE FRAMES LENGTH WINDOW");
	return 0;
}
