// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Hooks, options and flags that are newer than the type.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} mapped SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, 1u << 30);
	__type(key, __u32);
	__type(value, __u64);
} unknown SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_RINGBUF);
		__uint(max_entries, 4096);
	});
} rings SEC(".maps");

#define PROGRAM(section, name) SEC(section) int name(void *ctx) { return 1; }

PROGRAM("cgroup/connect4", connect4)
PROGRAM("cgroup/getpeername4", getpeername4)
PROGRAM("cgroup/connect_unix", connect_unix)
PROGRAM("cgroup/sock_release", sock_release)
PROGRAM("iter/task_vma", areas)
PROGRAM("iter/of_tomorrow", of_tomorrow)
PROGRAM("iter.s/task", tasks)
PROGRAM("uprobe.s/libc:malloc", sleeps)
PROGRAM("fentry.s/vfs_read", waits)
PROGRAM("syscall", called)
PROGRAM("kprobe/do_unlinkat", on_old_name)
PROGRAM("fentry/of_no_kernel", for_no_function)
PROGRAM("kprobe/of_no_kernel_at_all", at_no_function)

char _license[] SEC("license") = "GPL";
