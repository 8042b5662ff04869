// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program under development: it reports each packet by a record, by counters, by a variable, and by a print.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

enum kind {
	KIND_SHORT = 1,
	KIND_LONG = 2,
};

struct event {
	__u32 version;
	__s16 below_zero;
	enum kind kind;
	char name[8];
	__u64 bytes;
};

/* Typed by its declaration. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
	__type(value, struct event);
} events SEC(".maps");

/* Has no type of its records. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} plain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, int);
	__type(value, int);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, enum kind);
	__type(value, __u64);
} kinds SEC(".maps");

__u64 seen;
const volatile __u32 step = 1;

SEC("xdp")
int tell(struct xdp_md *ctx)
{
	struct event event = {
		.version = VERSION,
		.below_zero = -5,
		.kind = KIND_SHORT,
		.name = "packet",
		.bytes = (__u64)ctx->data_end - (__u64)ctx->data,
	};
	__u32 zero = 0;
	__u64 *count, one = 1;

	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	bpf_ringbuf_output(&plain, "raw", 4, 0);
	bpf_perf_event_output(ctx, &samples, BPF_F_CURRENT_CPU, &event, sizeof(event));
	count = bpf_map_lookup_elem(&packets, &zero);
	if (count)
		*count += step;
	count = bpf_map_lookup_elem(&kinds, &event.kind);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&kinds, &event.kind, &one, BPF_NOEXIST);
	__sync_fetch_and_add(&seen, 1);
	bpf_printk("bpfman-run saw version %d", VERSION);
	return XDP_PASS;
}

/* Attaches by its section. */
SEC("tracepoint/syscalls/sys_enter_getpgid")
int asked(void *ctx)
{
	__sync_fetch_and_add(&seen, 1000);
	return 0;
}

char _license[] SEC("license") = "GPL";
