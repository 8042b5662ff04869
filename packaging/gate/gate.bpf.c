// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// The gate: while it is closed, only the executables and cgroups that the daemon allows may load, attach or run
// eBPF programs (docs/gate.md). Needs Linux 5.11 with LSM "bpf".
//
// The daemon sets the time until which the gate is closed, and extends it continuously. If the daemon is gone for
// longer, the gate is open: a machine without its daemon must still be repairable.
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1
#define FMODE_WRITE 2
#define LEVELS 12
#define OWN_MAP 0xffffffff // instead of a program's type
#define USE 0xfffffffe     // the same, for a program that is attached or run

// Kernel types with the fields that are read here; the loader finds their offsets.
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct super_block {
	__u32 s_dev;
};
struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};
struct file {
	struct inode *f_inode;
};
struct mm_struct {
	struct file *exe_file;
};
struct task_struct {
	struct mm_struct *mm;
};
struct bpf_map {
	__u32 id;
};
#pragma clang attribute pop

// Identity of a file: inode, and device in the kernel's encoding (major << 20 | minor).
struct executable {
	__u64 inode;
	__u32 device;
	__u32 unused;
};

// Key of a refusal: the process's name and user, and the type of the program.
struct stranger {
	char command[16];
	__u32 user;
	__u32 program_type;
};

struct refusals {
	__u64 count;
	__u32 process;
	__u32 unused;
};

// Time until which the gate is closed, in nanoseconds since boot without suspend.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} closed_until SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct executable);
	__type(value, __u32);
} executables SEC(".maps");

// Allowed cgroups of version 2, by id; cgroups below them are allowed, too.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u64);
	__type(value, __u32);
} groups SEC(".maps");

// The maps of the gate itself, by id: other processes may not write to them.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32);
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, struct stranger);
	__type(value, struct refusals);
} refused SEC(".maps");

static bool is_open(void)
{
	__u32 first = 0;
	__u64 *until = bpf_map_lookup_elem(&closed_until, &first);

	return !until || bpf_ktime_get_ns() >= *until;
}

static bool is_let(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct executable key = {};
	struct mm_struct *memory = task->mm;
	struct file *file;
	__u64 group;
	int level;

	// Kernel threads have no memory map.
	if (!memory)
		return true;
	file = memory->exe_file;
	if (file) {
		struct inode *inode = file->f_inode;

		key.inode = inode->i_ino;
		key.device = inode->i_sb->s_dev;
		if (bpf_map_lookup_elem(&executables, &key))
			return true;
	}
#pragma unroll
	for (level = 1; level < LEVELS; level++) {
		group = bpf_get_current_ancestor_cgroup_id(level);
		if (!group)
			break;
		if (bpf_map_lookup_elem(&groups, &group))
			return true;
	}
	return false;
}

static int refuse(__u32 program_type)
{
	struct stranger key = { .user = (__u32)bpf_get_current_uid_gid(), .program_type = program_type };
	__u32 process = bpf_get_current_pid_tgid() >> 32;
	struct refusals *seen;

	bpf_get_current_comm(key.command, sizeof(key.command));
	seen = bpf_map_lookup_elem(&refused, &key);
	if (seen) {
		__sync_fetch_and_add(&seen->count, 1);
		seen->process = process;
	} else {
		struct refusals first = { .count = 1, .process = process };

		bpf_map_update_elem(&refused, &key, &first, BPF_ANY);
	}
	return -EPERM;
}

// Returns whether a command attaches or runs a program by its descriptor, which processes can pass on. The
// descriptor itself is not read: another thread of the caller could change it before the kernel reads it.
static bool uses_program(int command)
{
	switch (command) {
	case BPF_PROG_ATTACH:
	case BPF_PROG_TEST_RUN:
	case BPF_RAW_TRACEPOINT_OPEN:
	case BPF_LINK_CREATE:
	case BPF_LINK_UPDATE:
		return true;
	default:
		return false;
	}
}

SEC("lsm/bpf")
int BPF_PROG(gate_load, int command, union bpf_attr *attributes, unsigned int size)
{
	bool uses = uses_program(command);
	__u32 type;

	if ((command != BPF_PROG_LOAD && !uses) || is_open() || is_let())
		return 0;
	if (uses)
		return refuse(USE);
	type = attributes->prog_type;
	// The caller chooses the number: all unknown ones share one entry.
	return refuse(type < 64 ? type : 64);
}

SEC("lsm/bpf_map")
int BPF_PROG(gate_map, struct bpf_map *map, unsigned int mode)
{
	__u32 id = map->id;

	// This applies while the gate is open, too: a descriptor stays valid after it closes.
	if (!(mode & FMODE_WRITE) || !bpf_map_lookup_elem(&own, &id) || is_let())
		return 0;
	return refuse(OWN_MAP);
}

char LICENSE[] SEC("license") = "GPL";
