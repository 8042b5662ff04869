// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// XDP members for the oracle: each shows one thing that real programs do.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

const volatile __u8 threshold = 100;
__u64 seen;
static __u32 last_sum = 7;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct guarded {
	struct bpf_spin_lock lock;
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct guarded);
} guard SEC(".maps");

struct leak {
	__u64 words[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct leak);
} leaked SEC(".maps");

static __always_inline __u8 *bytes(struct xdp_md *ctx, __u32 need)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return data + need > end ? NULL : data;
}

SEC("xdp")
int prefix_filter(struct xdp_md *ctx)
{
	__u8 *packet = bytes(ctx, 40);
	__u64 key;

	if (!packet)
		return XDP_PASS;
	key = 32 | (__u64)packet[26] << 32;
	if (bpf_map_lookup_elem(&blocked, &key))
		return XDP_DROP;
	return packet[30] > threshold ? XDP_PASS : XDP_TX;
}

SEC("xdp")
int global_counter(struct xdp_md *ctx)
{
	seen++;
	last_sum += ctx->data_end - ctx->data;
	return XDP_PASS;
}

SEC("xdp")
int per_cpu_counter(struct xdp_md *ctx)
{
	__u8 *packet = bytes(ctx, 40);
	__u32 key;
	__u64 *count;

	if (!packet)
		return XDP_ABORTED;
	key = packet[20] & 7;
	count = bpf_map_lookup_elem(&counters, &key);
	if (count)
		*count += 1;
	return XDP_PASS;
}

static __attribute__((noinline)) int sum(const __u8 *values, __u32 from)
{
	int total = 0;

	for (int i = 0; i < 8; i++)
		total += values[(from + i) & 31];
	return total;
}

SEC("xdp")
int stack_array(struct xdp_md *ctx)
{
	__u8 *packet = bytes(ctx, 40);
	__u8 copy[32];

	if (!packet)
		return XDP_PASS;
	for (int i = 0; i < 32; i++)
		copy[i] = packet[i];
	copy[packet[33] & 31] ^= 0x55;
	packet[34] = sum(copy, packet[35]);
	return packet[34] & 1 ? XDP_PASS : XDP_DROP;
}

__attribute__((noinline)) int mix(__u32 a, __u32 b)
{
	return (a * 31 + b) ^ (a >> 3);
}

SEC("xdp")
int global_function(struct xdp_md *ctx)
{
	__u8 *packet = bytes(ctx, 40);

	if (!packet)
		return XDP_PASS;
	packet[36] = mix(packet[1], packet[2]);
	return mix(packet[3], packet[4]) & 3;
}

struct loop_state {
	__u32 total;
	__u32 step;
};

static long add_up(__u32 index, struct loop_state *state)
{
	state->total += index * state->step;
	return 0;
}

SEC("xdp")
int looped(struct xdp_md *ctx)
{
	struct loop_state state = { .step = 3 };
	__u8 *packet = bytes(ctx, 40);

	if (!packet)
		return XDP_PASS;
	state.total = packet[5];
	bpf_loop(packet[6] & 15, add_up, &state, 0);
	packet = bytes(ctx, 40);
	if (packet)
		packet[7] = state.total;
	return XDP_PASS;
}

SEC("xdp")
int locked(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct guarded *value = bpf_map_lookup_elem(&guard, &key);

	if (!value)
		return XDP_ABORTED;
	bpf_spin_lock(&value->lock);
	value->count += 2;
	bpf_spin_unlock(&value->lock);
	return XDP_PASS;
}

// Shrinks the packet at its front and its end.
SEC("xdp")
int cut_packet(struct xdp_md *ctx)
{
	if (bpf_xdp_adjust_head(ctx, 4) || bpf_xdp_adjust_tail(ctx, -2))
		return XDP_DROP;
	return XDP_PASS;
}

// Fills its frame with a pattern. The next member finds it unless the chain clears the frame.
SEC("xdp")
int dirty_stack(struct xdp_md *ctx)
{
	volatile __u64 words[32];

	for (int i = 0; i < 32; i++)
		words[i] = 0x5a5a5a5a5a5a5a5aULL;
	return words[3] == 0x5a5a5a5a5a5a5a5aULL ? XDP_PASS : XDP_DROP;
}

// Copies the contents of its frame, which it has not written, into a map.
SEC("xdp")
int read_stack(struct xdp_md *ctx)
{
	volatile __u64 words[32];
	__u32 key = 0;
	struct leak *leak = bpf_map_lookup_elem(&leaked, &key);

	if (!leak)
		return XDP_ABORTED;
	for (int i = 0; i < 32; i++)
		leak->words[i] = words[i];
	return XDP_PASS;
}

// A full frame: no space is left to save the context.
SEC("xdp")
int full_stack(struct xdp_md *ctx)
{
	__u64 length = ctx->data_end - ctx->data;

	asm volatile("*(u64 *)(r10 - 512) = %0" ::"r"(length) : "memory");
	return length > 10 ? XDP_PASS : XDP_DROP;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} jumps SEC(".maps");

// Tail-calls the program that the test puts into `jumps`; passes if there is none.
SEC("xdp")
int jumper(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
