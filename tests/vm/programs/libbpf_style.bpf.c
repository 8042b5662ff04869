// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Like objects written for libbpf: section names with a tail, globals of every kind, functions that stay calls, a
// ring buffer, a map pinned by name, and a program that every kernel refuses beside good ones.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 constant = 7; // .rodata
__u64 initialised = 11; // .data
__u64 zeroed; // .bss

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} matrix_shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} per_cpu SEC(".maps");

static __noinline __u64 local_function(__u64 value) { return value + initialised; }
__noinline __u64 global_function(__u64 value) { return value + constant; }

static long turn(__u32 index, void *context)
{
	*(__u64 *)context += index;
	return 0;
}

static __always_inline void note(void *data, void *end)
{
	struct ethhdr *eth = data;
	__u32 zero = 0;
	__u64 sum = 0, *shared = bpf_map_lookup_elem(&matrix_shared, &zero);

	if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(0x88b5))
		return;
	bpf_loop(4, turn, &sum, 0); // 0 + 1 + 2 + 3
	zeroed = global_function(local_function(sum));
	if (shared)
		*shared = zeroed;
	bpf_ringbuf_output(&events, &zeroed, sizeof(zeroed), 0);
	bpf_map_update_elem(&per_cpu, &zero, &zeroed, BPF_ANY);
}

SEC("xdp/named") int in_xdp(struct xdp_md *ctx)
{
	note((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	return XDP_PASS;
}

SEC("xdp.frags") int in_xdp_frags(struct xdp_md *ctx) { return XDP_PASS; }

SEC("tc") int in_tc(struct __sk_buff *ctx)
{
	note((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	return 3; // pipe
}

SEC("tcx/ingress") int in_tcx(struct __sk_buff *ctx)
{
	note((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	return -1; // next
}

SEC("classifier/old") int in_classifier(struct __sk_buff *ctx) { return 3; }

// Reads past the packet: every kernel refuses it. The other programs of the object must load nevertheless.
SEC("xdp") int broken(struct xdp_md *ctx) { return *(volatile char *)(long)ctx->data; }

char LICENSE[] SEC("license") = "Dual BSD/GPL";
