// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Reports every started program to user space: its process, and its file.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define COMM_LENGTH 16
#define FILENAME_LENGTH 256

// User space parses this by hand: four-byte fields in the machine's byte order, then two strings ended by a zero.
struct event {
	__u32 pid;
	__u32 uid;
	char comm[COMM_LENGTH];
	char filename[FILENAME_LENGTH]; // cut after 255 bytes
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
	__type(value, struct event);
} events SEC(".maps");

// Counts events that found the ring buffer full.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

// Format of /sys/kernel/tracing/events/sched/sched_process_exec/format, unchanged since Linux 3.4.
struct sched_process_exec {
	__u64 common;
	__u32 filename; // low half: where the string starts, counted from this record's start
	__s32 pid;
	__s32 old_pid;
};

SEC("tracepoint/sched/sched_process_exec")
int exec_snoop(struct sched_process_exec *ctx)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__u32 first = 0;
		__u64 *count = bpf_map_lookup_elem(&lost, &first);

		if (count)
			(*count)++;
		return 0;
	}
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	// Reserved memory contains the previous event.
	if (bpf_probe_read_kernel_str(event->filename, sizeof(event->filename),
				      (void *)ctx + (ctx->filename & 0xffff)) < 0)
		event->filename[0] = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
