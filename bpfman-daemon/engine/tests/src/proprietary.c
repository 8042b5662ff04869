// Calls a helper that only programs under the GPL may.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("kprobe") int license_1(void *ctx)
{
	int value = 0;
	return bpf_probe_read_kernel(&value, sizeof(value), ctx) + value;
}

char LICENSE[] SEC("license") = "Proprietary";
