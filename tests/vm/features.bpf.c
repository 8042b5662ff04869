// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// One program of each kind that `features` tries on the running kernel.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

// The freplace program replaces this function. The compiler must keep the call.
__attribute__((noinline)) int replaceable(struct xdp_md *ctx)
{
	volatile int verdict = XDP_PASS;

	return ctx ? verdict : XDP_DROP;
}

SEC("xdp") int try_xdp(struct xdp_md *ctx) { return replaceable(ctx); }
SEC("xdp.frags") int try_xdp_frags(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc") int try_tc(struct __sk_buff *skb) { return -1; }
SEC("tracepoint/sched/sched_process_exec") int try_tracepoint(void *ctx) { return 0; }
SEC("raw_tp/sched_process_exec") int try_raw_tracepoint(void *ctx) { return 0; }
SEC("tp_btf/sched_process_exec") int try_tp_btf(void *ctx) { return 0; }
// vfs_unlink has this name in all kernels; its caller, do_unlinkat, has not.
SEC("kprobe/vfs_unlink") int try_kprobe(void *ctx) { return 0; }
SEC("kretprobe/vfs_unlink") int try_kretprobe(void *ctx) { return 0; }
SEC("kprobe.multi/vfs_unlink") int try_kprobe_multi(void *ctx) { return 0; }
SEC("uprobe") int try_uprobe(void *ctx) { return 0; }
SEC("uretprobe") int try_uretprobe(void *ctx) { return 0; }
SEC("fentry/vfs_unlink") int try_fentry(void *ctx) { return 0; }
SEC("fexit/vfs_unlink") int try_fexit(void *ctx) { return 0; }
SEC("lsm/file_open") int try_lsm(void *ctx) { return 0; }
SEC("freplace/replaceable") int try_freplace(struct xdp_md *ctx) { return XDP_PASS; }
SEC("iter/bpf_prog") int try_iterator(void *ctx) { return 0; }

SEC("raw_tp/sched_process_exec") int try_ring_buffer(void *ctx)
{
	__u64 value = 1;

	return bpf_ringbuf_output(&ring, &value, sizeof(value), 0);
}

static int turn(__u32 index, void *context) { return 0; }

SEC("tc") int try_loop_helper(struct __sk_buff *skb)
{
	bpf_loop(4, turn, 0, 0);
	return -1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
