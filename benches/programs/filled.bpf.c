// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A hash of a million entries, which one run of the program fills.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define ENTRIES 1000000

struct flow {
	__u32 address;
	__u16 port;
	__u16 zone;
};

struct counts {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ENTRIES);
	__type(key, struct flow);
	__type(value, struct counts);
} flows SEC(".maps");

static long add(__u32 number, void *unused)
{
	struct flow key = { .address = number, .port = number & 1023 };
	struct counts value = { .packets = number, .bytes = 64ull * number };

	bpf_map_update_elem(&flows, &key, &value, BPF_ANY);
	return 0;
}

SEC("xdp")
int xdp_filled(struct xdp_md *ctx)
{
	bpf_loop(ENTRIES, add, 0, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
