// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Samples the stacks of kernel and user space on all CPUs while a profile is being taken. Attached to cpu-clock at
// 99 Hz on every CPU: at 100 Hz it would run in step with timers of 10 ms.
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <bpf/bpf_helpers.h>

#define COMM_LENGTH 16
#define DEPTH 127 // frames that the kernel walks by default (kernel.perf_event_max_stack)
#define STACKS 16384
#define COUNTS 32768
#define NO_STACK 0 // the process has none, like kernel threads in user space
#define LOST_STACK 1

// The current profile. Sampling ends at `until`, even if the process that takes the profile was killed.
struct lease {
	__u64 until; // CLOCK_MONOTONIC, nanoseconds
	__u64 expires; // same clock: from then on, others may take the lease. For user space only
	__u64 owner; // for user space only
	__u64 tgid; // samples only this process; 0: all
	__u64 cgroup; // samples only this cgroup and those below it; 0: all
	__u64 level; // the cgroup's depth below the root
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lease);
} lease SEC(".maps");

struct frames {
	__u64 addresses[DEPTH]; // innermost first; then zeroes
};

// Stacks by their hash. Preallocated, which the kernel requires for samples of perf events.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STACKS);
	__type(key, __u64);
	__type(value, struct frames);
} stacks SEC(".maps");

struct seen {
	__u64 kernel; // a stack's hash, NO_STACK or LOST_STACK
	__u64 user;
	__u32 pid; // the thread
	__u32 tgid; // the process
	char comm[COMM_LENGTH];
};

struct weight {
	__u64 samples;
	__u64 period; // sum of the samples' periods; of cpu-clock in nanoseconds
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, COUNTS);
	__type(key, struct seen);
	__type(value, struct weight);
} counts SEC(".maps");

enum counter {
	SAMPLES, // counted, or lost in a full map
	IDLE, // of idle CPUs
	OTHERS, // of processes outside of the lease
	LOST_STACKS, // counted without a stack: `stacks` was full
	LOST_SAMPLES, // not counted: `counts` was full
	COUNTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

// 1,016 bytes are too large for the stack of a program. A CPU takes one sample at a time.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct frames);
} scratch SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &which);

	if (counter)
		(*counter)++;
}

static __always_inline int is_meant(const struct lease *lease, __u32 tgid)
{
	if (lease->tgid && lease->tgid != tgid)
		return 0;
	return !lease->cgroup || lease->cgroup == bpf_get_current_ancestor_cgroup_id((int)lease->level);
}

// Stores a stack, and returns its hash.
static __always_inline __u64 keep_stack(struct bpf_perf_event_data *ctx, struct frames *frames, __u64 flags)
{
	long length = bpf_get_stack(ctx, frames, sizeof(*frames), flags);
	__u64 hash = 0xcbf29ce484222325;

	if (length <= 0)
		return NO_STACK;
	// Hash all entries, also those that the kernel cleared behind a short stack: a loop that ends at `length`
	// has more paths than the verifier of Linux 6.1 follows.
	for (__u32 i = 0; i < DEPTH; i++) {
		hash = (hash ^ frames->addresses[i]) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 29;
	}
	if (hash <= LOST_STACK)
		hash += LOST_STACK + 1;
	if (bpf_map_lookup_elem(&stacks, &hash))
		return hash;
	// Another CPU may have stored the same stack meanwhile.
	if (bpf_map_update_elem(&stacks, &hash, frames, BPF_ANY)) {
		count(LOST_STACKS);
		return LOST_STACK;
	}
	return hash;
}

SEC("perf_event")
int profiler(struct bpf_perf_event_data *ctx)
{
	__u32 first = 0;
	struct lease *taken = bpf_map_lookup_elem(&lease, &first);
	struct frames *frames;
	struct weight *known;
	struct seen seen = {};
	__u64 id;

	if (!taken || bpf_ktime_get_ns() >= taken->until)
		return 0;
	id = bpf_get_current_pid_tgid();
	seen.pid = (__u32)id;
	seen.tgid = id >> 32;
	if (!seen.pid) {
		count(IDLE);
		return 0;
	}
	if (!is_meant(taken, seen.tgid)) {
		count(OTHERS);
		return 0;
	}
	count(SAMPLES);
	frames = bpf_map_lookup_elem(&scratch, &first);
	if (!frames)
		return 0;
	bpf_get_current_comm(seen.comm, sizeof(seen.comm));
	seen.kernel = keep_stack(ctx, frames, 0);
	seen.user = keep_stack(ctx, frames, BPF_F_USER_STACK);

	known = bpf_map_lookup_elem(&counts, &seen);
	if (!known) {
		struct weight none = {};

		bpf_map_update_elem(&counts, &seen, &none, BPF_NOEXIST);
		known = bpf_map_lookup_elem(&counts, &seen);
	}
	if (!known) {
		count(LOST_SAMPLES);
		return 0;
	}
	// A thread runs on one CPU at a time, but may move between two samples.
	__sync_fetch_and_add(&known->samples, 1);
	__sync_fetch_and_add(&known->period, ctx->sample_period);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
