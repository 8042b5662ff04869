// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Programs that the kernel calls by a trampoline: they need its BTF.
#include "calls.h"

// Return value for callers of mkdir; 0 permits the call.
const volatile __s32 answer = -1; // -EPERM

SEC("fentry/vfs_truncate") int BPF_PROG(on_fentry, void *path, __s64 length) { return count(length); }
SEC("fexit/vfs_truncate") int BPF_PROG(on_fexit, void *path, __s64 length, int returned) { return count(returned); }
SEC("lsm/file_open") int BPF_PROG(on_lsm, void *file) { return count(0); }
SEC("lsm.s/file_open") int BPF_PROG(on_sleepable_lsm, void *file) { return count(0); }

SEC("lsm/inode_mkdir") int BPF_PROG(deny_mkdir, void *folder, void *entry, int mode, int before)
{
	if (before || !by_act())
		return before;
	count(answer);
	return answer;
}
