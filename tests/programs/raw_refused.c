// Calls that no session may make: a syscall program, an event that signals, one that records others. Prints errors.
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int event(uint64_t bits)
{
	uint64_t attr[14] = {PERF_TYPE_SOFTWARE | (uint64_t)112 << 32, PERF_COUNT_SW_BPF_OUTPUT};

	attr[5] = bits;
	return syscall(SYS_perf_event_open, attr, -1, 0, -1, 0) < 0 ? errno : 0;
}

int main(void)
{
	struct bpf_insn code[3] = {{.code = 0xb7, .imm = 1}, {.code = 0x07, .imm = 1}, {.code = 0x95}};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SYSCALL, .insn_cnt = 3, .insns = (uintptr_t)code,
		.license = (uintptr_t) "GPL", .prog_flags = BPF_F_SLEEPABLE,
	};
	int program = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, 128) < 0 ? errno : 0;

	printf("%d %d %d %d\n", program, event(0), event(1UL << 37), event(1UL << 8));
	return 0;
}
