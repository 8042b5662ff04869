// feature: maps of types that came between 5.11 and 6.2
// since: 6.2
#include "corpus.h"

struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 32); __type(value, int); __uint(map_extra, 3); } filter SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); } from_user SEC(".maps");
struct { __uint(type, 32 /* BPF_MAP_TYPE_CGRP_STORAGE */); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, long); } of_group SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, long); } of_task SEC(".maps");

static long each(struct bpf_dynptr *dynptr, void *context) { return 0; }
int value = 4;
SEC("tc") int asks(struct __sk_buff *skb)
{
	bpf_map_push_elem(&filter, &value, 0);
	return bpf_map_peek_elem(&filter, &value) ? 1 : 2;
}
SEC("tp_btf/sys_enter") int BPF_PROG(stores, void *regs, long id)
{
	struct task_struct *task = bpf_get_current_task_btf();
	long *value = bpf_task_storage_get(&of_task, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (value)
		*value += 1;
	bpf_user_ringbuf_drain(&from_user, each, 0, 0);
	return 0;
}
