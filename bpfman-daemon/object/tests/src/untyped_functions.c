// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// `.BTF` with maps alone, and no `.BTF.ext`, as in pythonbpf's objects. Built twice: the maps, then all with their BTF.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __s64);
	__type(value, __s64);
	__uint(max_entries, 16);
} count SEC(".maps");

#ifdef TYPES
asm(".section .BTF,\"\",@progbits\n.incbin \"" TYPES "\"\n.text");

SEC("xdp") long long hello(void *ctx)
{
	__s64 key = 0, one = 1;
	__s64 *seen = bpf_map_lookup_elem(&count, &key);

	if (seen)
		*seen += 1;
	else
		bpf_map_update_elem(&count, &key, &one, BPF_ANY);
	return XDP_PASS;
}

SEC("tracepoint/syscalls/sys_enter_execve") long long traced(void *ctx)
{
	bpf_printk("hi");
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
#endif
