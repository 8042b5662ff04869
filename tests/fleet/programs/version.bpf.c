// One program of each kind. All contain the number VERSION, by which a simulated verifier tells versions apart.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define STRING(x) #x
#define TEXT(x) STRING(x)
#define MARK asm volatile("r1 = " TEXT(VERSION) ::: "r1")

SEC("xdp")
int guard(struct xdp_md *ctx)
{
	MARK;
	return XDP_PASS;
}

SEC("tracepoint/syscalls/sys_enter_openat")
int watch(void *ctx)
{
	MARK;
	return 0;
}

char terms[] SEC("license") = "GPL";
