// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Follows the processes of jobs: programs that they start, addresses that they connect to, files that they open to
// write. User space enters a job's first process before it does anything; the kernel's fork enters its descendants,
// so that they are followed even if their parents have ended. Processes in the job's cgroup or below belong to the
// job, too, even if another process has started them there, or moved them there.
//
// Every job has a ring buffer of its own, since reading a ring removes its records. Lost events, and processes that
// could not be entered, are counted by job: its report is then incomplete.
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
	__u32 arguments_length; // of all arguments, in bytes; longer ones are cut
	struct in6_addr address;
	__u32 protocol; // of CONNECT
	char path[PATH_LENGTH];
	char arguments[ARGUMENTS_LENGTH]; // of EXEC: each ended by a zero
};

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
	__type(value, struct event);
} events_0 SEC(".maps"), events_1 SEC(".maps"), events_2 SEC(".maps"), events_3 SEC(".maps");

// Each run of a job has a number of its own, from JOBS on: the job's number plus a multiple of JOBS. Processes that
// a killed job has left are therefore not taken for those of the next run.
struct member {
	__u64 run;
	__u64 outer; // the run of an outer job, which waits for this process, too; 0: none
};

// Processes that are followed.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct member);
} members SEC(".maps");

// Numbers of members that entered and that ended. Both only grow, and a child is counted before the process that
// made it can end: while they differ, a process is left. A walk over `members` could miss it.
struct tally {
	__u64 run; // 0: none
	__u64 last; // for user space only: the number of the last run
	__u64 entered, left;
};

// By job. User space begins a run, in which the command is the first to enter.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, JOBS);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

// A cgroup: its id (0: none), and its depth below the root.
struct group {
	__u64 number;
	__u64 level;
};

// By job: its cgroup, if it has one.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, JOBS);
	__type(key, __u32);
	__type(value, struct group);
} groups SEC(".maps");

// For user space only: the process that runs the job.
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

// Too large for the stack. Two of these programs never run on a CPU at the same time.
enum place { AT_WRITE, AT_EXEC, PLACES };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct path_buffer);
} buffers SEC(".maps");

static __always_inline struct tally *find_tally(__u64 run)
{
	__u32 job = run % JOBS;
	struct tally *tally = bpf_map_lookup_elem(&tallies, &job);

	return tally && run && tally->run == run ? tally : NULL;
}

// Returns the run of this process, or 0.
static __always_inline __u64 find_run(void)
{
	__u32 process = bpf_get_current_pid_tgid() >> 32;
	struct member *member = bpf_map_lookup_elem(&members, &process);

	if (member && find_tally(member->run))
		return member->run;
#pragma unroll
	for (__u32 number = 0; number < JOBS; number++) {
		__u32 place = number;
		struct group *group = bpf_map_lookup_elem(&groups, &place);

		if (group && group->number && bpf_get_current_ancestor_cgroup_id(group->level) == group->number) {
			struct tally *tally = bpf_map_lookup_elem(&tallies, &place);

			return tally ? tally->run : 0;
		}
	}
	return 0;
}

// Finds the job of this process. Returns false if there is none.
static __always_inline bool find_job(__u32 *job)
{
	__u64 run = find_run();

	*job = run % JOBS;
	return run;
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
		bpf_probe_read_kernel_str(event->path, sizeof(event->path), &buffer->text[start & (MAX_PATH - 1)]);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(follow_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 process = BPF_CORE_READ(child, tgid);
	struct member member = {};
	struct tally *tally;

	// A thread belongs to its process, which was counted.
	if (process == bpf_get_current_pid_tgid() >> 32)
		return 0;
	member.run = find_run();
	if (!member.run)
		return 0;
	if (bpf_map_update_elem(&members, &process, &member, BPF_ANY)) {
		count_lost(member.run % JOBS);
		return 0;
	}
	tally = find_tally(member.run);
	if (tally)
		__sync_fetch_and_add(&tally->entered, 1);
	return 0;
}

static __always_inline void leave(__u64 run)
{
	struct tally *tally = find_tally(run);

	if (tally)
		__sync_fetch_and_add(&tally->left, 1);
}

static __always_inline void tell_end(__u32 job)
{
	struct event *event = begin(job, EXIT);

	if (event)
		bpf_ringbuf_submit(event, 0);
}

// The exit of the whole process, not of one of its threads.
SEC("tp_btf/sched_process_exit")
int BPF_PROG(follow_exit, struct task_struct *task)
{
	__u32 process = bpf_get_current_pid_tgid() >> 32, job;
	struct member *found, member = {};
	bool followed;

	if (BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	followed = find_job(&job);
	found = bpf_map_lookup_elem(&members, &process);
	if (found)
		member = *found;
	// Delete it first: a reader of the ring then sees that it is gone. Of two last threads, one deletes it.
	if (found && !bpf_map_delete_elem(&members, &process)) {
		leave(member.run);
		leave(member.outer);
	}
	if (followed)
		tell_end(job);
	if (find_tally(member.outer))
		tell_end(member.outer % JOBS);
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
	// The kernel has just written the arguments, and the program has not run yet.
	if (bpf_probe_read_user(event->arguments, length, (void *)start) < 0)
		event->arguments_length = 0;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

// For open, openat, openat2 and creat: the descriptor leads to the opened file.
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

// Runs when this process opens a TCP connection: the kernel has the address, and has not sent the first packet.
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

// For connect, sendto, sendmsg and sendmmsg.
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
