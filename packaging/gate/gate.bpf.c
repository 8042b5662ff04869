// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// The gate: while it is closed, nobody loads, attaches or runs eBPF programs but the executables and cgroups that the daemon
// lets (docs/gate.md). Needs Linux 5.11 with LSM "bpf".
//
// The daemon says until when it is closed, and says so again all the time. When it is gone for longer than that, the gate
// stands open: a machine without its daemon must not be one that nobody can repair.
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

// Of the kernel's types what is read here; the loader finds the places.
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

// Which file: inode, and device as the kernel counts it (major << 20 | minor).
struct executable {
	__u64 inode;
	__u32 device;
	__u32 unused;
};

// Who was refused.
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

// Nanoseconds since boot, without sleep, until which the gate is closed.
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

// Of version 2, by id; what is below them is let, too.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u64);
	__type(value, __u32);
} groups SEC(".maps");

// The maps of the gate itself, by id: nobody else writes to them.
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

	// The kernel's own threads have none.
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

// A descriptor of a program is enough to attach and run it, and descriptors are passed on. Which program the call names is not
// read: another thread of the caller could change that before the kernel reads it.
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
	// Whoever is refused chooses the number: unknown ones are one.
	return refuse(type < 64 ? type : 64);
}

SEC("lsm/bpf_map")
int BPF_PROG(gate_map, struct bpf_map *map, unsigned int mode)
{
	__u32 id = map->id;

	// Also while the gate is open: a descriptor is for ever.
	if (!(mode & FMODE_WRITE) || !bpf_map_lookup_elem(&own, &id) || is_let())
		return 0;
	return refuse(OWN_MAP);
}

char LICENSE[] SEC("license") = "GPL";
