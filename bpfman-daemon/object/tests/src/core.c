// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Every kind of CO-RE relocation that clang 14 can write.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct qstr {
	union {
		struct {
			__u32 hash;
			__u32 len;
		};
		__u64 hash_len;
	};
	const unsigned char *name;
};
struct dentry {
	struct qstr d_name;
	void *d_parent;
};
struct mm_struct {
	unsigned long start_code;
};
struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	unsigned in_execve : 1;
	unsigned sched_reset_on_fork : 1;
	unsigned not_in_any_kernel : 1;
};
struct task_struct___other_flavour {
	int tgid;
	long no_such_field;
};
struct sk_buff {
	unsigned int len;
	__u8 cloned : 1;
	__u8 pkt_type : 3;
};
struct no_such_structure {
	int a;
};
#pragma clang attribute pop

enum bpf_map_type___kernel {
	BPF_MAP_TYPE_HASH___kernel = 77,
	BPF_NO_SUCH_TYPE___kernel = 78,
};

volatile __u64 out;

SEC("kprobe")
int fields(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct___other_flavour *other = (void *)task;

	out += BPF_CORE_READ(task, pid);
	out += BPF_CORE_READ(task, real_parent, group_leader, tgid);
	out += BPF_CORE_READ(task, mm, start_code);
	out += BPF_CORE_READ(task, comm[3]);
	out += BPF_CORE_READ(other, tgid);
	if (bpf_core_field_exists(other->no_such_field))
		out += BPF_CORE_READ(other, no_such_field);
	return 0;
}

SEC("kprobe")
int bit_fields(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct sk_buff *skb = ctx;

	out += BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork);
	out += BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type);
	out += bpf_core_field_exists(task->not_in_any_kernel);
	out += bpf_core_field_size(task->comm);
	out += bpf_core_field_offset(task->comm);
	return 0;
}

SEC("kprobe")
int types(void *ctx)
{
	out += bpf_core_type_exists(struct task_struct);
	out += bpf_core_type_exists(struct no_such_structure) << 1;
	out += bpf_core_type_size(struct task_struct);
	out += bpf_core_type_id_kernel(struct task_struct);
	out += bpf_core_type_id_local(struct task_struct);
	out += bpf_core_enum_value(enum bpf_map_type___kernel, BPF_MAP_TYPE_HASH___kernel);
	out += bpf_core_enum_value_exists(enum bpf_map_type___kernel, BPF_NO_SUCH_TYPE___kernel);
	return 0;
}

static __attribute__((noinline)) int deep(struct dentry *entry)
{
	return BPF_CORE_READ(entry, d_name.len);
}

SEC("kprobe/vfs_unlink")
int in_function(void *ctx)
{
	return deep(ctx);
}

SEC("kprobe/vfs_unlink")
int local_only(void *ctx)
{
	return bpf_core_type_id_local(struct task_struct);
}

SEC("kprobe/vfs_unlink")
int plain(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
