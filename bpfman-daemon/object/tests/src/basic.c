// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs of several types beside one another, with maps, globals, static and global functions.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// The section names that libbpf 1.1 does not know.
#ifdef FOR_LIBBPF_1_1
#define NAMED_XDP "xdp"
#else
#define NAMED_XDP "xdp/filter"
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

const volatile __u32 limit = 7;
const volatile __u16 ports[4] = { 1, 2, 3, 4 };
volatile __u64 seen;
volatile __u32 mode = 5;
static volatile __u32 hidden_state = 9;

struct config {
	__u32 a;
	__u32 b;
};
volatile struct config config = { 1, 2 };

static __attribute__((noinline)) int count(__u32 key)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (!value)
		return 0;
	__sync_fetch_and_add(value, 1);
	return (int)*value;
}

__attribute__((noinline)) int judge(struct xdp_md *ctx)
{
	return count(ctx->rx_queue_index & 3) > (int)limit + ports[ctx->rx_queue_index & 3] ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC(NAMED_XDP)
int filter(struct xdp_md *ctx)
{
	seen++;
	hidden_state += mode + config.b;
	return judge(ctx);
}

SEC("xdp.frags")
int frags(struct xdp_md *ctx)
{
	return count(1) ? XDP_PASS : XDP_DROP;
}

SEC("tc")
int tc_plain(struct __sk_buff *skb)
{
	return count(2) ? 0 : 2;
}

#ifndef FOR_LIBBPF_1_1
SEC("tcx/ingress")
int tcx_in(struct __sk_buff *skb)
{
	return -1;
}

SEC("tcx/egress")
int tcx_out(struct __sk_buff *skb)
{
	return count(3);
}

#endif

SEC("classifier")
int classify(struct __sk_buff *skb)
{
	return 0;
}

SEC("tp/syscalls/sys_enter_execve")
int on_exec(void *ctx)
{
	__u32 *slot = bpf_ringbuf_reserve(&events, sizeof(*slot), 0);

	if (!slot)
		return 0;
	*slot = limit;
	bpf_ringbuf_submit(slot, 0);
	return 0;
}

SEC("kprobe/vfs_unlink")
int probe(void *ctx)
{
	return count(0);
}

SEC("kretprobe/vfs_unlink")
int retprobe(void *ctx)
{
	return 0;
}

SEC("uprobe")
int user(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
