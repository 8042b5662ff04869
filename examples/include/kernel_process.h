// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Kernel types with the fields that programs read about processes; the loader finds their offsets. And the fields
// that identify a process.
#ifndef EXAMPLES_KERNEL_PROCESS_H
#define EXAMPLES_KERNEL_PROCESS_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define COMM_LENGTH 16
// Bit of `f_mode`.
#define MODE_WRITE 0x2

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
typedef struct {
	unsigned int val;
} kuid_t;
typedef struct {
	__u64 val;
} kernel_cap_t;
struct cred {
	kuid_t uid;
	kuid_t euid;
	kernel_cap_t cap_effective;
};
struct qstr {
	__u32 len;
	const unsigned char *name;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};
struct vfsmount {
	struct dentry *mnt_root;
};
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	unsigned int f_mode;
	struct path f_path;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
typedef struct {
	int counter;
} atomic_t;
struct signal_struct {
	atomic_t live;
};
struct mm_struct {
	unsigned long arg_start, arg_end;
};
struct task_struct {
	int tgid;
	struct task_struct *real_parent;
	const struct cred *cred;
	struct files_struct *files;
	struct signal_struct *signal;
	struct mm_struct *mm;
	char comm[COMM_LENGTH];
};
struct linux_binprm {
	struct file *file;
	const char *filename;
};
#pragma clang attribute pop

// The process that acts. User space parses this field by field.
struct process {
	__u64 cgroup; // its id: the inode number of its folder
	__u32 pid;
	__u32 parent;
	__u32 uid;
	__u32 unused;
	char comm[COMM_LENGTH];
	char parent_comm[COMM_LENGTH];
};

static __always_inline void tell_process(struct process *process)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);

	process->cgroup = bpf_get_current_cgroup_id();
	process->pid = BPF_CORE_READ(task, tgid);
	process->parent = BPF_CORE_READ(parent, tgid);
	process->uid = (__u32)bpf_get_current_uid_gid();
	process->unused = 0;
	bpf_get_current_comm(process->comm, sizeof(process->comm));
	bpf_probe_read_kernel(process->parent_comm, sizeof(process->parent_comm), &parent->comm);
}

#endif
