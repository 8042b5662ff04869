// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// An XDP member that schedules work for the task that it interrupted (Linux 6.18).
// Newer headers declare `struct bpf_task_work` themselves: rename theirs.
#define bpf_task_work bpf_task_work_of_headers
#include <linux/bpf.h>
#undef bpf_task_work
#include <bpf/bpf_helpers.h>

struct bpf_task_work {
	__u64 opaque;
} __attribute__((aligned(8)));

struct task_struct;

// The newest kernels pass the program themselves.
#ifdef PASSES_PROGRAM
extern int bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *tw, void *map,
					 int (*callback)(void *map, void *key, void *value)) __ksym;
#define bpf_task_work_schedule_signal_impl(task, tw, map, callback, aux) \
	bpf_task_work_schedule_signal(task, tw, map, callback)
#else
extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *tw, void *map,
					      int (*callback)(void *map, void *key, void *value),
					      void *aux) __ksym;
#endif

struct errand {
	struct bpf_task_work work;
	__u64 asked;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct errand);
} errands SEC(".maps");

// Not compared: no kernel promises when the callback runs.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} fired SEC(".maps");

static int on_errand(void *map, void *key, void *value)
{
	__u32 which = 0;
	__u64 *count = bpf_map_lookup_elem(&fired, &which);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

SEC("xdp")
int run_errand(struct xdp_md *ctx)
{
	struct errand *errand;
	__u32 key = 0;

	errand = bpf_map_lookup_elem(&errands, &key);
	if (!errand)
		return XDP_ABORTED;
	errand->asked++;
	bpf_task_work_schedule_signal_impl(bpf_get_current_task_btf(), &errand->work, &errands, on_errand, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
