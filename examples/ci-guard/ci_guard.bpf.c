// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Follows the processes of jobs: what they start, where they connect, which files they open to write. User space enters
// a job's first process before it does anything; its descendants are entered where the kernel makes them, so that one
// whose parents have ended is still followed. Whoever is in the job's control group or below is of it, too: also one that
// something else has started there, or moved there.
//
// Every job has a ring of its own, since who reads a ring takes the records out. An event that is lost, or a process that
// could not be entered, is counted for its job: its report is not whole then.
#include "datagram.h"
#include "file_path.h"
#include "opened_file.h"
#include <stdbool.h>
#include <bpf/bpf_tracing.h>

#define JOBS 4
#define PATH_LENGTH 256
#define ARGUMENTS_LENGTH 256

enum event_kind { EXEC, CONNECT, WRITE, EXIT };

// User space parses this by hand, in the machine's byte order.
struct event {
	struct process process;
	__u8 kind;
	__u8 unnamed; // the kernel has no path for the file
	__u16 port;
	__u32 arguments_length; // of all, in bytes; what is longer is cut
	struct in6_addr address;
	__u32 protocol; // of CONNECT
	char path[PATH_LENGTH];
	char arguments[ARGUMENTS_LENGTH]; // of EXEC: each ended by a zero
};

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} events_0 SEC(".maps"), events_1 SEC(".maps"), events_2 SEC(".maps"), events_3 SEC(".maps");

// Processes that are followed, and whose job they are of.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} members SEC(".maps");

// A control group as the kernel knows it: its number, and how far below the root it is. None: number 0.
struct group {
	__u64 number;
	__u64 level;
};

// By job: its group, if it has one.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, JOBS);
	__type(key, __u32);
	__type(value, struct group);
} groups SEC(".maps");

// User space's own: which process runs the job.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, JOBS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} jobs SEC(".maps");

// By job: events that found its ring full, and processes that could not be entered.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, JOBS);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

// Too much for the stack; no two of these programs run on a CPU at a time.
enum place { AT_WRITE, AT_EXEC, PLACES };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct path_buffer);
} buffers SEC(".maps");

// The job that this process is of; false if it is of none.
static __always_inline bool find_job(__u32 *job)
{
	__u32 process = bpf_get_current_pid_tgid() >> 32;
	__u32 *member = bpf_map_lookup_elem(&members, &process);

	if (member) {
		*job = *member;
		return true;
	}
#pragma unroll
	for (__u32 number = 0; number < JOBS; number++) {
		__u32 place = number;
		struct group *group = bpf_map_lookup_elem(&groups, &place);

		if (group && group->number && bpf_get_current_ancestor_cgroup_id(group->level) == group->number) {
			*job = number;
			return true;
		}
	}
	return false;
}

static __always_inline void count_lost(__u32 job)
{
	__u64 *count = bpf_map_lookup_elem(&lost, &job);

	if (count)
		(*count)++;
}

static __always_inline struct event *begin(__u32 job, enum event_kind kind)
{
	struct event *event;

	if (job == 0)
		event = bpf_ringbuf_reserve(&events_0, sizeof(*event), 0);
	else if (job == 1)
		event = bpf_ringbuf_reserve(&events_1, sizeof(*event), 0);
	else if (job == 2)
		event = bpf_ringbuf_reserve(&events_2, sizeof(*event), 0);
	else
		event = bpf_ringbuf_reserve(&events_3, sizeof(*event), 0);
	if (!event) {
		count_lost(job);
		return NULL;
	}
	tell_process(&event->process);
	event->kind = kind;
	event->unnamed = 0;
	event->port = 0;
	event->arguments_length = 0;
	event->path[0] = 0;
	return event;
}

static __always_inline void name_file(struct event *event, struct file *file, enum place place)
{
	__u32 at = place;
	struct path_buffer *buffer = bpf_map_lookup_elem(&buffers, &at);
	int start = buffer ? find_path(buffer, file) : -1;

	if (start < 0)
		event->unnamed = 1;
	else
		bpf_probe_read_kernel_str(event->path, sizeof(event->path), &buffer->text[start & (LONGEST_PATH - 1)]);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(follow_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 process = BPF_CORE_READ(child, tgid), job;

	if (find_job(&job) && bpf_map_update_elem(&members, &process, &job, BPF_ANY))
		count_lost(job);
	return 0;
}

// The whole process, not one of its threads.
SEC("tp_btf/sched_process_exit")
int BPF_PROG(follow_exit, struct task_struct *task)
{
	__u32 process = bpf_get_current_pid_tgid() >> 32, job;
	struct event *event;

	if (!find_job(&job) || BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	// First: who reads of it, or finds the ring full, sees that it is gone.
	bpf_map_delete_elem(&members, &process);
	event = begin(job, EXIT);
	if (event)
		bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(see_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	__u32 job;
	struct event *event = find_job(&job) ? begin(job, EXEC) : NULL;
	__u64 start, length;

	if (!event)
		return 0;
	name_file(event, BPF_CORE_READ(program, file), AT_EXEC);
	start = BPF_CORE_READ(task, mm, arg_start);
	length = BPF_CORE_READ(task, mm, arg_end) - start;
	event->arguments_length = length;
	if (length > sizeof(event->arguments))
		length = sizeof(event->arguments);
	// The kernel has just written them, and the program has not run yet.
	if (bpf_probe_read_user(event->arguments, length, (void *)start) < 0)
		event->arguments_length = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

// Of open, openat, openat2 and creat: the descriptor leads to the file that was opened.
SEC("tracepoint/syscalls/sys_exit_openat")
int see_open(struct sys_exit *ctx)
{
	__u32 job;
	struct file *file;
	struct event *event;

	if (!find_job(&job))
		return 0;
	file = opened_file(ctx);
	if (!file || !(BPF_CORE_READ(file, f_mode) & MODE_WRITE))
		return 0;
	event = begin(job, WRITE);
	if (!event)
		return 0;
	name_file(event, file, AT_WRITE);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

// A TCP connection that this process begins: the kernel has taken the address, and not sent the first packet.
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(see_connect, struct sock *socket, int old, int new)
{
	__u32 job;
	struct event *event;

	if (new != BPF_TCP_SYN_SENT)
		return 0;
	event = find_job(&job) ? begin(job, CONNECT) : NULL;
	if (!event)
		return 0;
	event->port = tell_destination(socket, &event->address);
	event->protocol = BPF_CORE_READ(socket, sk_protocol);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

// Of connect, sendto, sendmsg and sendmmsg.
SEC("tracepoint/syscalls/sys_exit_connect")
int see_datagram(struct sys_exit *ctx)
{
	struct datagram datagram;
	struct event *event;
	__u32 job;

	if (!noted_datagram(&datagram))
		return 0;
	event = find_job(&job) ? begin(job, CONNECT) : NULL;
	if (!event)
		return 0;
	event->address = datagram.address;
	event->port = datagram.port;
	event->protocol = datagram.protocol;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
