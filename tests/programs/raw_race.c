// Loads programs while a thread changes what the call's arguments point to. Prints how many loads succeeded with which
// type: LOADED_6 LOADED_OTHER REFUSED.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct bpf_insn trivial[3] = {
    {.code = 0xb7, .imm = 2}, {.code = 0x95}, {.code = 0x95},
};
static struct bpf_insn working[3] = {
    {.code = 0xb7, .imm = 1}, {.code = 0x07, .imm = 1}, {.code = 0x95},
};
static struct bpf_insn code[3];
static union bpf_attr attr;
static volatile int stop;

static void *change(void *unused)
{
	(void)unused;
	for (unsigned i = 0; !stop; i++) {
		*(volatile uint32_t *)&attr.prog_type = i & 1 ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SOCKET_FILTER;
		memcpy(code, i & 2 ? trivial : working, sizeof code);
		*(volatile uint32_t *)&attr.insn_cnt = i & 4 ? 2 : 3;
		__asm__ volatile("" ::: "memory");
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1000, right = 0, wrong = 0, refused = 0;
	pthread_t thread;

	memset(&attr, 0, sizeof attr);
	attr.prog_type = BPF_PROG_TYPE_XDP;
	attr.insn_cnt = 3;
	attr.insns = (uintptr_t)code;
	attr.license = (uintptr_t) "GPL";
	memcpy(code, working, sizeof code);
	if (pthread_create(&thread, NULL, change, NULL))
		return 1;
	for (int i = 0; i < rounds; i++) {
		int program = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, 128);
		struct bpf_prog_info info = {};
		union bpf_attr ask = {.info = {.bpf_fd = program, .info_len = sizeof info, .info = (uintptr_t)&info}};

		if (program < 0) {
			refused++;
			continue;
		}
		if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &ask, 16))
			return 2;
		// A program of two instructions that returns a number may have any type.
		if (info.type == BPF_PROG_TYPE_XDP || info.xlated_prog_len == 16)
			right++;
		else
			wrong++;
		close(program);
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("%d %d %d\n", right, wrong, refused);
	return 0;
}
