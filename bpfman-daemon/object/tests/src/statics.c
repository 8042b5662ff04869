// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs that are static functions, beside static functions that programs call or point to, in the same sections.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

// Only called: a subprogram in .text.
static __attribute__((noinline)) int hit(__u32 key)
{
	__u64 *value = bpf_map_lookup_elem(&hits, &key);

	if (!value)
		return 0;
	__sync_fetch_and_add(value, 1);
	return (int)*value;
}

SEC("kprobe/vfs_unlink")
static __u32 on_unlink(void *ctx)
{
	return hit(0) & 0;
}

SEC("tracepoint/syscalls/sys_enter_kill")
static __u32 on_kill(void *ctx)
{
	return hit(1) & 0;
}

SEC("uprobe")
static __u32 on_call(void *ctx)
{
	return 0;
}

SEC("uretprobe")
static __u32 on_return(void *ctx)
{
	return 0;
}

// First static function of its section: a subprogram, called by the program behind it.
SEC("xdp")
static __attribute__((noinline)) int judge(struct xdp_md *ctx)
{
	return hit(2) > 1000 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int judged(struct xdp_md *ctx)
{
	return judge(ctx);
}

// Second static function of its section: a program.
SEC("xdp")
static int unjudged(struct xdp_md *ctx)
{
	return XDP_PASS;
}

// Pointed to from another section.
SEC("xdp/step")
static long step(__u32 index, void *data)
{
	return hit(3) & 1;
}

SEC("tc")
int loops(struct __sk_buff *skb)
{
	bpf_loop(4, step, (void *)0, 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
