// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// One program of each kind of section that images name, and maps of several types. Needs no headers, so that it
// compiles for both byte orders anywhere.
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]

struct {
	__uint(type, 1);
	__uint(max_entries, 8);
	int *key;
	long *value;
} flows SEC(".maps");

typedef struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} ring;

ring events SEC(".maps");

long packets; // a map .bss, which no label names
const volatile int limit = 5; // a map .rodata

static __attribute__((noinline)) int checked(long value)
{
	return value > limit;
}

SEC("xdp/main")
int filter(void *context)
{
	packets++;
	return checked(packets) ? 1 : 2;
}

SEC("tc")
int shape(void *context)
{
	return 0;
}

SEC("tcx/ingress")
int shape_early(void *context)
{
	return 0;
}

SEC("tracepoint/sched/sched_switch")
int switched(void *context)
{
	return 0;
}

SEC("kretprobe/do_sys_openat2")
int opened(void *context)
{
	return 0;
}

SEC("cgroup/dev")
int not_for_images(void *context)
{
	return 0;
}

int library(int value) // in .text: no program
{
	return value + (int)packets;
}

char _license[] SEC("license") = "GPL";
