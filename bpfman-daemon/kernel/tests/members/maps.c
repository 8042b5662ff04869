// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members with one kind of map each. Members copy values that user space cannot read into an array.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAP(kind, name, entries, key_type, value_type) \
	struct {                                       \
		__uint(type, kind);                    \
		__uint(max_entries, entries);          \
		__type(key, key_type);                 \
		__type(value, value_type);             \
	} name SEC(".maps")

// Many more entries than keys: nothing is evicted, since the choice would depend on the CPU.
MAP(BPF_MAP_TYPE_LRU_HASH, recent, 1024, __u32, __u64);
MAP(BPF_MAP_TYPE_PERCPU_HASH, per_cpu, 64, __u32, __u64);
MAP(BPF_MAP_TYPE_ARRAY, seen, 8, __u32, __u64);

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 16);
	__uint(key_size, 0);
	__uint(value_size, 8);
} waiting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 16);
	__uint(key_size, 0);
	__uint(value_size, 8);
} pile SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

static __always_inline void note(__u32 which, __u64 value)
{
	__u64 *place = bpf_map_lookup_elem(&seen, &which);

	if (place)
		*place = *place * 31 + value;
}

static __always_inline __u32 length_of(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

SEC("xdp")
int least_recent(struct xdp_md *ctx)
{
	__u32 key = length_of(ctx) & 31;
	__u64 one = 1, *count;

	count = bpf_map_lookup_elem(&recent, &key);
	if (count)
		__sync_fetch_and_add(count, 1);
	else
		bpf_map_update_elem(&recent, &key, &one, BPF_ANY);
	return XDP_PASS;
}

SEC("xdp")
int hash_of_each_cpu(struct xdp_md *ctx)
{
	__u32 key = length_of(ctx) & 7;
	__u64 one = 1, *count;

	count = bpf_map_lookup_elem(&per_cpu, &key);
	if (count)
		*count += key;
	else
		bpf_map_update_elem(&per_cpu, &key, &one, BPF_NOEXIST);
	return key == 5 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int queue_and_stack(struct xdp_md *ctx)
{
	__u64 value = length_of(ctx), first = 0, last = 0;

	bpf_map_push_elem(&waiting, &value, BPF_EXIST);
	bpf_map_push_elem(&pile, &value, BPF_EXIST);
	if (value & 1) {
		bpf_map_pop_elem(&waiting, &first);
		bpf_map_pop_elem(&pile, &last);
	}
	note(0, first * 7 + last);
	return XDP_PASS;
}

SEC("xdp")
int ring_output(struct xdp_md *ctx)
{
	__u64 value = length_of(ctx);
	long failed = bpf_ringbuf_output(&events, &value, sizeof(value), 0);

	note(1, bpf_ringbuf_query(&events, BPF_RB_PROD_POS) + failed);
	return XDP_PASS;
}

SEC("xdp")
int ring_reserve(struct xdp_md *ctx)
{
	__u64 *event = bpf_ringbuf_reserve(&events, 24, 0);

	if (!event) {
		note(2, 1);
		return XDP_TX;
	}
	event[0] = event[1] = event[2] = length_of(ctx);
	if (length_of(ctx) & 1)
		bpf_ringbuf_discard(event, 0);
	else
		bpf_ringbuf_submit(event, 0);
	note(2, bpf_ringbuf_query(&events, BPF_RB_PROD_POS));
	return XDP_PASS;
}

SEC("xdp")
int ring_dynptr(struct xdp_md *ctx)
{
	struct bpf_dynptr event;
	__u64 value = length_of(ctx), back = 0;

	if (bpf_ringbuf_reserve_dynptr(&events, 8 + (value & 15), 0, &event)) {
		bpf_ringbuf_discard_dynptr(&event, 0);
		note(3, 1);
		return XDP_PASS;
	}
	bpf_dynptr_write(&event, 0, &value, sizeof(value), 0);
	bpf_dynptr_read(&back, sizeof(back), &event, 0, 0);
	bpf_ringbuf_submit_dynptr(&event, 0);
	note(3, back);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
