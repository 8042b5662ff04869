// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// One program of each type that v0.6.0 did not have. Each counts its runs; those that decide refuse each request, so
// that the caller notices.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "runs.h"

SEC("raw_tp/sched_switch")
int raw_switch(void *ctx)
{
	count(0);
	return 0;
}

SEC("tp_btf/sched_switch")
int typed_switch(void *ctx)
{
	count(1);
	return 0;
}

SEC("fmod_ret/security_file_open")
int keep_return(void *ctx)
{
	count(2);
	return 0;
}

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_map {
	__u32 id;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
} __attribute__((preserve_access_index));

SEC("iter/bpf_map")
int list_maps(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;

	count(3);
	if (map)
		BPF_SEQ_PRINTF(ctx->meta->seq, "map %u\n", map->id);
	return 0;
}

SEC("iter/bpf_map")
int list_for_ever(struct bpf_iter__bpf_map *ctx)
{
	return 1;
}

SEC("cgroup_skb/egress")
int no_egress(struct __sk_buff *skb)
{
	count(4);
	return 0;
}

SEC("cgroup/sock_create")
int no_socket(struct bpf_sock *sock)
{
	count(5);
	return 0;
}

SEC("cgroup/connect4")
int no_connect(struct bpf_sock_addr *address)
{
	count(6);
	return 0;
}

SEC("cgroup/setsockopt")
int no_option(struct bpf_sockopt *option)
{
	count(7);
	return 0;
}

SEC("cgroup/sysctl")
int no_parameter(struct bpf_sysctl *parameter)
{
	count(8);
	return 0;
}

SEC("cgroup/dev")
int no_device(struct bpf_cgroup_dev_ctx *device)
{
	count(9);
	return 0;
}

SEC("sockops")
int tcp_events(struct bpf_sock_ops *event)
{
	count(10);
	return 1;
}

SEC("lsm_cgroup/socket_create")
int no_socket_by_lsm(void *ctx)
{
	count(11);
	return 0;
}

SEC("sk_lookup")
int no_listener(struct bpf_sk_lookup *lookup)
{
	count(12);
	return SK_DROP;
}

SEC("flow_dissector")
int dissect(struct __sk_buff *skb)
{
	count(13);
	return BPF_DROP;
}

SEC("netfilter")
int no_packet(void *ctx)
{
	count(14);
	return 0;
}


SEC("kprobe.multi")
int many_entries(void *ctx)
{
	count(15);
	return 0;
}

SEC("kretprobe.multi")
int many_returns(void *ctx)
{
	count(16);
	return 0;
}

SEC("kprobe.session")
int many_sessions(void *ctx)
{
	count(17);
	return 0;
}

SEC("uprobe.multi")
int many_functions(void *ctx)
{
	count(18);
	return 0;
}

SEC("uretprobe.multi")
int many_function_returns(void *ctx)
{
	count(19);
	return 0;
}

/* A slot for each of eight CPUs. */
SEC("perf_event")
int samples(void *ctx)
{
	count(20 + (bpf_get_smp_processor_id() & 7));
	return 0;
}

char _license[] SEC("license") = "GPL";
