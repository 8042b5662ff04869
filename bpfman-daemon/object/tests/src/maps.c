// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// One map for each way to declare maps.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u64);
	__type(value, struct bpf_spin_lock);
} pinned SEC(".maps");

struct inner_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} inner_one SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 3);
	__type(key, __u32);
	__array(values, struct inner_map);
} outer SEC(".maps") = {
	.values = { [1] = &inner_one },
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 5);
	__type(key, __u64);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__uint(max_entries, 7);
		__type(key, __u32);
		__type(value, __u64);
	});
} outer_hash SEC(".maps");

int pass(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} jumps SEC(".maps") = {
	.values = { [0] = (void *)&pass },
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1000);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

struct prefix {
	__u32 length;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u8);
} routes SEC(".maps");

// libbpf refuses static maps; older versions of it, and aya, accept them.
#ifndef FOR_LIBBPF_1_1
static struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} internal SEC(".maps");
#endif

static volatile int scratch SEC(".data.extra") = 3;

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	__u32 key = 1;
	void *found = bpf_map_lookup_elem(&outer, &key);

	scratch++;
#ifndef FOR_LIBBPF_1_1
	if (bpf_map_lookup_elem(&internal, &key))
		return XDP_ABORTED;
#endif
	if (found && bpf_map_lookup_elem(found, &key))
		return XDP_PASS;
	bpf_tail_call(ctx, &jumps, 1);
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
