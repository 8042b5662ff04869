// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Maps of all kinds that hold data, with types, and a program that uses them and changes few of them.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum kind {
	KIND_SHORT = 1,
	KIND_LONG = 2,
};

struct flow {
	__u32 address;
	__u16 port;
	__s16 zone;
	enum kind kind;
};

struct counts {
	__u64 packets;
	__u64 bytes;
	char name[8];
};

struct prefix {
	__u32 length;
	__u8 address[4];
};

struct prefix6 {
	__u32 prefixlen;
	__u8 address[16];
};

enum flag {
	FLAG_SYN = 2,
	FLAG_ACK = 5,
};

struct header {
	__u32 length : 4;
	enum flag flags : 3;
	_Bool last : 1;
	__s32 step : 5;
	__u16 port;
};

struct event {
	__u32 number;
	char name[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, struct flow);
	__type(value, struct counts);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __s32);
	__type(value, __u64);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __s64);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} each SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix6);
	__type(value, __u32);
} routes6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct header);
} headers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 2);
	__uint(key_size, 0);
	__type(value, __u32);
} line SEC(".maps");

/* A map without types. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 2);
} plain SEC(".maps");

/* Larger than one call to the daemon can carry. */
struct page {
	__u32 number;
	char text[300000];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct page);
} pages SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct event);
};

struct inner first SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { [1] = &first },
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
	__type(value, struct event);
} events SEC(".maps");

const volatile __u32 step = 7;
__u64 seen;
__u32 limit = 5;

SEC("xdp")
int use_all(struct xdp_md *ctx)
{
	struct event event = { .number = step, .name = "packet" };
	struct prefix prefix = { .length = 32 };
	struct prefix6 prefix6 = { .prefixlen = 128 };
	struct flow flow = {};
	__u32 zero = 0;

	bpf_ringbuf_output(&events, &event, sizeof(event), 0);
	if (bpf_map_lookup_elem(&flows, &flow) || bpf_map_lookup_elem(&recent, &zero)
	    || bpf_map_lookup_elem(&slots, &zero) || bpf_map_lookup_elem(&each, &zero)
	    || bpf_map_lookup_elem(&routes, &prefix) || bpf_map_lookup_elem(&plain, &zero)
	    || bpf_map_lookup_elem(&routes6, &prefix6) || bpf_map_lookup_elem(&headers, &zero)
	    || bpf_map_lookup_elem(&outer, &zero) || bpf_map_lookup_elem(&pages, &zero) || !bpf_map_peek_elem(&line, &zero))
		__sync_fetch_and_add(&seen, limit);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
