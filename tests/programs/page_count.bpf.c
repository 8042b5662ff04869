// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs that pages load beside a filter: a TC program with a setting, and one at a tracepoint.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 rate = 1;
__u64 seen;

SEC("classifier")
int count(struct __sk_buff *packet)
{
	__sync_fetch_and_add(&seen, rate);
	return 0;
}

SEC("tracepoint/sched/sched_process_exec")
int watch(void *context)
{
	__sync_fetch_and_add(&seen, rate);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
