// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Global variables of every kind that a user can write, and maps whose sizes can and cannot be set.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

enum color { RED, GREEN = 7, LOST = -1 };

struct limits {
	__u32 rate;
	struct {
		__u16 low;
		__s16 high;
	} ports[2];
	union {
		__u32 mark;
		char word[4];
	};
	enum color color;
	__u8 bits : 3;
};

/* The first variable, whose value tests read by a run. */
const volatile __u32 verdict = 2;
volatile __u8 tiny = 1;
volatile __s8 small = -1;
volatile __u16 port = 80;
volatile __s32 offset = -5;
volatile __u64 wide = 1;
volatile __s64 deep = -1;
volatile __int128 huge = 1;
volatile bool on = false;
volatile char letter = 'a';
volatile enum color color = GREEN;
char name[8] = "before";
volatile __u8 mac[6] = {1, 2, 3, 4, 5, 6};
volatile __u32 list[3] = {7, 8, 9};
volatile struct limits limits = {.rate = 1, .ports = {{1, 2}, {3, 4}}, .color = RED};
void *volatile pointer = (void *)1;
/* Kernels allow no floating point in programs: no program computes with these. */
volatile float part = 0.5;
volatile double ratio = 0.25;
volatile __u32 zeroed;
char large[40000] = "large";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} of_sockets SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} tables SEC(".maps") = {.values = {&first, &second}};

static __always_inline int looks(__u32 key)
{
	void *inner = bpf_map_lookup_elem(&tables, &key);
	void *record = bpf_ringbuf_reserve(&events, 8, 0);

	if (record)
		bpf_ringbuf_discard(record, 0);
	return inner || bpf_map_lookup_elem(&flows, &key);
}

SEC("xdp")
int reads(struct xdp_md *ctx)
{
	__u32 sum = tiny + small + port + offset + wide + deep + (__u64)huge + on + letter + color + name[0] + mac[0] +
		    list[0] + limits.rate + (__u64)pointer + zeroed + large[0];

	return looks(sum) ? verdict : verdict + 0;
}

SEC("xdp")
int shares(struct xdp_md *ctx)
{
	return looks(ctx->ingress_ifindex) ? XDP_DROP : verdict;
}

char _license[] SEC("license") = "GPL";
