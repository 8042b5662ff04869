// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Programs that the kernel calls by a trampoline: they need its BTF.
#include "calls.h"

// The value that a new folder's maker is given; 0 lets it pass.
const volatile __s32 answer = -1; // -EPERM

SEC("fentry/do_mkdirat") int BPF_PROG(on_fentry, int dfd) { return count(dfd); }
SEC("fexit/do_mkdirat") int BPF_PROG(on_fexit, int dfd, void *name, int mode, int returned) { return count(returned); }
SEC("lsm/file_open") int BPF_PROG(on_lsm, void *file) { return count(0); }
SEC("lsm.s/file_open") int BPF_PROG(on_sleepable_lsm, void *file) { return count(0); }

SEC("lsm/inode_mkdir") int BPF_PROG(deny_mkdir, void *folder, void *entry, int mode, int before)
{
	if (before || !by_act())
		return before;
	count(answer);
	return answer;
}
