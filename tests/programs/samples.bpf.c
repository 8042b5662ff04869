// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// One object with the programs that tests/cluster/tests/real/samples names. No program changes anything.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

volatile const __u8 GLOBAL_u8 = 0;
volatile const __u32 GLOBAL_u32 = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

static __always_inline void count(void)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&runs, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("xdp") int pass_all(struct xdp_md *context)
{
	count();
	return GLOBAL_u8 == 1 && GLOBAL_u32 == 0x0a0b0c0d ? XDP_PASS : XDP_ABORTED;
}
SEC("xdp") int count_packets(struct xdp_md *context) { count(); return XDP_PASS; }
SEC("tc") int shape(struct __sk_buff *context) { count(); return TC_ACT_PIPE; }
SEC("tcx/egress") int mirror(struct __sk_buff *context) { count(); return -1; } // TCX_NEXT, which headers before 6.6 lack
SEC("fentry/vfs_unlink") int test_fentry(void *context) { count(); return 0; }
SEC("fexit/vfs_unlink") int test_fexit(void *context) { count(); return 0; }
SEC("kprobe/try_to_wake_up") int my_kprobe(void *context) { count(); return 0; }
SEC("kretprobe/try_to_wake_up") int my_kretprobe(void *context) { count(); return 0; }
SEC("tracepoint/syscalls/sys_enter_openat") int enter_openat(void *context) { count(); return 0; }
SEC("uprobe") int my_uprobe(void *context) { count(); return 0; }
SEC("uretprobe") int my_uretprobe(void *context) { count(); return 0; }

char _license[] SEC("license") = "GPL";
