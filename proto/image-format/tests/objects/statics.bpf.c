// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Programs that are static functions, beside static functions that programs call or point to in the same sections.
// Needs no headers, so that it compiles for both byte orders anywhere.
#define SEC(name) __attribute__((section(name), used))

static long (*bpf_loop)(unsigned int, void *, void *, unsigned long) = (void *)181;
volatile long packets;

static __attribute__((noinline)) int hit(void)
{
	return (int)++packets;
}

SEC("kprobe/vfs_unlink")
static unsigned int on_unlink(void *context)
{
	return hit() & 0;
}

SEC("uprobe")
static unsigned int on_call(void *context)
{
	return 0;
}

// First function of its section, called by the program after it.
SEC("xdp")
static __attribute__((noinline)) int judge(void *context)
{
	return hit() > 1000 ? 1 : 2;
}

SEC("xdp")
int judged(void *context)
{
	return judge(context);
}

// The last of its section, and a program.
SEC("xdp")
static int unjudged(void *context)
{
	return 2;
}

// Pointed to from another section.
SEC("xdp/step")
static long step(unsigned int index, void *data)
{
	return hit() & 1;
}

SEC("tc")
int loops(void *context)
{
	bpf_loop(4, step, (void *)0, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
