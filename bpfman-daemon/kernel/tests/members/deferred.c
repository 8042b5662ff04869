// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members that leave work for later: a timer, a work queue (Linux 6.10).
// Newer headers declare `struct bpf_wq` themselves: rename theirs.
#define bpf_wq bpf_wq_of_headers
#include <linux/bpf.h>
#undef bpf_wq
#include <bpf/bpf_helpers.h>

#define CLOCK_MONOTONIC 1

struct bpf_wq {
	__u64 opaque[2];
} __attribute__((aligned(8)));

extern int bpf_wq_init(struct bpf_wq *wq, void *map, unsigned int flags) __ksym __weak;
// The newest kernels pass the program themselves.
#ifdef PASSES_PROGRAM
extern int bpf_wq_set_callback(struct bpf_wq *wq, int (*callback)(void *map, int *key, void *value),
			       unsigned int flags) __ksym __weak;
#define bpf_wq_set_callback_impl(wq, callback, flags, aux) bpf_wq_set_callback(wq, callback, flags)
#else
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int (*callback)(void *map, int *key, void *value),
				    unsigned int flags, void *aux) __ksym __weak;
#endif
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym __weak;

struct alarm {
	struct bpf_timer timer;
	__u64 started;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} alarms SEC(".maps");

struct work {
	struct bpf_wq wq;
	__u64 started;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

// Not compared: no kernel promises when callbacks run.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} fired SEC(".maps");

static void fire(__u32 which)
{
	__u64 *count = bpf_map_lookup_elem(&fired, &which);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static int on_alarm(void *map, __u32 *key, struct alarm *alarm)
{
	fire(0);
	return 0;
}

static int on_work(void *map, int *key, void *value)
{
	fire(1);
	return 0;
}

SEC("xdp")
int start_timer(struct xdp_md *ctx)
{
	struct alarm *alarm;
	__u32 key = 0;

	alarm = bpf_map_lookup_elem(&alarms, &key);
	if (!alarm)
		return XDP_ABORTED;
	alarm->started++;
	bpf_timer_init(&alarm->timer, &alarms, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&alarm->timer, on_alarm);
	bpf_timer_start(&alarm->timer, 1000, 0);
	return XDP_PASS;
}

SEC("xdp")
int start_work(struct xdp_md *ctx)
{
	struct work *work;
	__u32 key = 0;

	work = bpf_map_lookup_elem(&works, &key);
	if (!work)
		return XDP_ABORTED;
	work->started++;
	bpf_wq_init(&work->wq, &works, 0);
	bpf_wq_set_callback_impl(&work->wq, on_work, 0, 0);
	bpf_wq_start(&work->wq, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
