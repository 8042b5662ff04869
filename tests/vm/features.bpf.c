// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// One program of each kind that `features` tries on the running kernel.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

// The function that the freplace program takes the place of. It must stay a call.
__attribute__((noinline)) int replaceable(struct xdp_md *ctx)
{
	volatile int verdict = XDP_PASS;

	return ctx ? verdict : XDP_DROP;
}

SEC("xdp") int xdp(struct xdp_md *ctx) { return replaceable(ctx); }
SEC("xdp.frags") int xdp_frags(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc") int tc(struct __sk_buff *skb) { return -1; }
SEC("tracepoint/sched/sched_process_exec") int tracepoint(void *ctx) { return 0; }
SEC("raw_tp/sched_process_exec") int raw_tracepoint(void *ctx) { return 0; }
SEC("tp_btf/sched_process_exec") int tp_btf(void *ctx) { return 0; }
SEC("kprobe/do_unlinkat") int kprobe(void *ctx) { return 0; }
SEC("kretprobe/do_unlinkat") int kretprobe(void *ctx) { return 0; }
SEC("kprobe.multi/do_unlinkat") int kprobe_multi(void *ctx) { return 0; }
SEC("uprobe") int uprobe(void *ctx) { return 0; }
SEC("uretprobe") int uretprobe(void *ctx) { return 0; }
SEC("fentry/do_unlinkat") int fentry(void *ctx) { return 0; }
SEC("fexit/do_unlinkat") int fexit(void *ctx) { return 0; }
SEC("lsm/file_open") int lsm(void *ctx) { return 0; }
SEC("freplace/replaceable") int freplace(struct xdp_md *ctx) { return XDP_PASS; }
SEC("iter/bpf_prog") int iterator(void *ctx) { return 0; }

SEC("raw_tp/sched_process_exec") int ring_buffer(void *ctx)
{
	__u64 value = 1;

	return bpf_ringbuf_output(&ring, &value, sizeof(value), 0);
}

static int turn(__u32 index, void *context) { return 0; }

SEC("tc") int loop_helper(struct __sk_buff *skb)
{
	bpf_loop(4, turn, 0, 0);
	return -1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
