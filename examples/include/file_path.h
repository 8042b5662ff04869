// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Finds the path of an open file from the kernel's directory entries: bpf_d_path is not available at tracepoints. The
// path begins at the root of the mount namespace. It is written from its end, since an entry knows only its parent.
#ifndef EXAMPLES_FILE_PATH_H
#define EXAMPLES_FILE_PATH_H

#include "kernel_process.h"

// Maximum number of names and mounts in a path. Deeper or longer paths are not found.
#define MAX_STEPS 48
#define MAX_PATH 1024
#define MAX_NAME 255

struct path_buffer {
	char text[MAX_PATH + MAX_NAME + 2];
};

// Returns the offset of the path in the buffer, or -1. The path ends with a zero.
static __always_inline int find_path(struct path_buffer *buffer, struct file *file)
{
	struct vfsmount *mount = BPF_CORE_READ(file, f_path.mnt);
	struct dentry *entry = BPF_CORE_READ(file, f_path.dentry);
	__u32 start = MAX_PATH - 1;

	buffer->text[start] = 0;
	for (int step = 0; step < MAX_STEPS; step++) {
		struct dentry *above = BPF_CORE_READ(entry, d_parent);
		__u32 length;

		if (entry == BPF_CORE_READ(mount, mnt_root)) {
			struct mount *here = (void *)mount - bpf_core_field_offset(struct mount, mnt);
			struct mount *parent = BPF_CORE_READ(here, mnt_parent);

			if (parent == here)
				return start == MAX_PATH - 1 ? -1 : (int)start;
			entry = BPF_CORE_READ(here, mnt_mountpoint);
			mount = (void *)parent + bpf_core_field_offset(struct mount, mnt);
			continue;
		}
		if (above == entry) // in no tree that has a name: a pipe, a file in memory
			return -1;
		length = BPF_CORE_READ(entry, d_name.len);
		if (length > MAX_NAME || length + 1 > start)
			return -1;
		start = (start - length - 1) & (MAX_PATH - 1);
		buffer->text[start] = '/';
		if (bpf_probe_read_kernel(&buffer->text[start + 1], length & MAX_NAME, BPF_CORE_READ(entry, d_name.name)) < 0)
			return -1;
		entry = above;
	}
	return -1;
}

#endif
