// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs that other processes open and use, and probes that are attached like others of their kind.
#include "runs.h"

/* Process whose test runs fail. */
const volatile __u32 whose;

SEC("xdp/devmap")
int to_device(struct xdp_md *ctx)
{
	count(0);
	return XDP_DROP;
}

SEC("xdp/cpumap")
int to_cpu(struct xdp_md *ctx)
{
	count(1);
	return XDP_DROP;
}

SEC("lwt_in")
int no_way_in(struct __sk_buff *skb)
{
	count(2);
	return BPF_DROP;
}

SEC("lwt_out")
int no_way_out(struct __sk_buff *skb)
{
	count(3);
	return BPF_DROP;
}

SEC("lwt_xmit")
int no_way_on(struct __sk_buff *skb)
{
	count(4);
	return BPF_DROP;
}

SEC("lwt_seg6local")
int no_segment(struct __sk_buff *skb)
{
	count(5);
	return BPF_DROP;
}

SEC("action")
int no_action(struct __sk_buff *skb)
{
	count(6);
	return 2; /* TC_ACT_SHOT */
}

SEC("syscall")
int called(void *ctx)
{
	count(7);
	return 42;
}

SEC("sk_reuseport/migrate")
int no_migration(void *ctx)
{
	count(8);
	return SK_DROP;
}

SEC("uprobe.session")
int library_sessions(void *ctx)
{
	count(9);
	return 0;
}

SEC("ksyscall/getpriority")
int call_begins(void *ctx)
{
	count(10);
	return 0;
}

SEC("kretsyscall/getpriority")
int call_ends(void *ctx)
{
	count(11);
	return 0;
}

SEC("raw_tp.w/bpf_test_finish")
int fails_test_runs(struct bpf_raw_tracepoint_args *ctx)
{
	int *error = (int *)ctx->args[0];

	if (bpf_get_current_pid_tgid() >> 32 != whose)
		return 0;
	count(12);
	*error = -7; /* E2BIG */
	return 0;
}

SEC("netkit/primary")
int no_primary(struct __sk_buff *skb)
{
	count(13);
	return 2; /* NETKIT_DROP */
}

SEC("netkit/peer")
int no_peer(struct __sk_buff *skb)
{
	count(14);
	return 2;
}

char _license[] SEC("license") = "GPL";
