// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// The `filter.o` and `guard.o` of pages: one XDP program with the maps that they name.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct flow {
	__u32 address;
	__u16 port;
};

struct counts {
	__u64 packets;
	__u64 bytes;
	char name[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, struct flow);
	__type(value, struct counts);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("xdp")
int filter(struct xdp_md *packet)
{
	struct flow key;
	struct counts *seen;
	__u64 *event;

	__builtin_memset(&key, 0, sizeof(key));
	key.address = 7;
	key.port = 80;
	seen = bpf_map_lookup_elem(&flows, &key);
	if (!seen)
		return XDP_PASS;
	__sync_fetch_and_add(&seen->packets, 1);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (event) {
		*event = packet->data_end - packet->data;
		bpf_ringbuf_submit(event, 0);
	}
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
