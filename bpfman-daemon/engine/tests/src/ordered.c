// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs of one hook of a cgroup, which record the order in which they run.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Entry 0: number of runs. Entries after it: the programs, in the order of their runs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 17);
	__type(key, __u32);
	__type(value, __u64);
} trail SEC(".maps");

static __always_inline int ran(__u64 which)
{
	__u32 at = 0;
	__u64 *count = bpf_map_lookup_elem(&trail, &at);

	if (!count || *count >= 16)
		return 1;
	at = ++*count;
	bpf_map_update_elem(&trail, &at, &which, BPF_ANY);
	return 1;
}

SEC("cgroup/sock_create")
int one(struct bpf_sock *sock)
{
	return ran(1);
}

SEC("cgroup/sock_create")
int two(struct bpf_sock *sock)
{
	return ran(2);
}

SEC("cgroup/sock_create")
int three(struct bpf_sock *sock)
{
	return ran(3);
}

SEC("cgroup/sock_create")
int four(struct bpf_sock *sock)
{
	return ran(4);
}

char _license[] SEC("license") = "GPL";
