// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Kernel functions in a tracing program: keys, Linux 6.1 and later.
#include "calls.h"

struct bpf_key;
extern struct bpf_key *bpf_lookup_system_key(__u64 id) __ksym;
extern void bpf_key_put(struct bpf_key *key) __ksym;

SEC("fentry/vfs_truncate") int BPF_PROG(by_key)
{
	struct bpf_key *key = bpf_lookup_system_key(0);

	if (key) {
		bpf_key_put(key);
		count(1);
	}
	return 0;
}
