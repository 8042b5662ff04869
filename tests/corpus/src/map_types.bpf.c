// feature: maps of every type that 5.10 has
// since: 5.10
#include "corpus.h"

#define MAP(name, kind, entries, k, v, ...) struct { __uint(type, BPF_MAP_TYPE_##kind); __uint(max_entries, entries); \
	__type(key, k); __type(value, v); __VA_ARGS__ } name SEC(".maps")
struct prefix { unsigned int length; unsigned char address[4]; };
MAP(hash, HASH, 16, int, long);
MAP(unallocated, HASH, 16, int, long, __uint(map_flags, BPF_F_NO_PREALLOC););
MAP(array, ARRAY, 16, int, long);
MAP(mapped, ARRAY, 16, int, long, __uint(map_flags, BPF_F_MMAPABLE););
MAP(percpu_hash, PERCPU_HASH, 16, int, long);
MAP(percpu_array, PERCPU_ARRAY, 16, int, long);
MAP(lru, LRU_HASH, 16, int, long);
MAP(lru_percpu, LRU_PERCPU_HASH, 16, int, long);
MAP(trie, LPM_TRIE, 16, struct prefix, int, __uint(map_flags, BPF_F_NO_PREALLOC););
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 4); __type(value, int); } queue SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK); __uint(max_entries, 4); __type(value, int); } stack SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 8); __uint(key_size, 4); __uint(value_size, 127 * 8); } traces SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_CGROUP_ARRAY); __uint(max_entries, 1); __uint(key_size, 4); __uint(value_size, 4); } groups SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_SOCKHASH); __uint(max_entries, 4); __type(key, int); __type(value, int); } sockets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_SK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, long); } storage SEC(".maps");

SEC("tc") int uses(struct __sk_buff *skb)
{
	struct prefix prefix = { 32, { 10, 0, 0, 1 } };
	int key = 1, seen = 0;
	long value = 5, *found;
	bpf_map_update_elem(&hash, &key, &value, 0);
	bpf_map_update_elem(&unallocated, &key, &value, 0);
	bpf_map_update_elem(&percpu_hash, &key, &value, 0);
	bpf_map_update_elem(&lru, &key, &value, 0);
	bpf_map_update_elem(&lru_percpu, &key, &value, 0);
	bpf_map_update_elem(&trie, &prefix, &key, 0);
	bpf_map_push_elem(&queue, &key, 0);
	bpf_map_push_elem(&stack, &key, 0);
	bpf_ringbuf_output(&ring, &value, sizeof(value), 0);
#define SEEN(map) found = bpf_map_lookup_elem(&map, &key); if (found) seen += *found + 1
	SEEN(hash); SEEN(unallocated); SEEN(array); SEEN(mapped); SEEN(percpu_hash); SEEN(percpu_array); SEEN(lru); SEEN(lru_percpu);
	if (bpf_map_lookup_elem(&trie, &prefix))
		seen += 1000;
	seen += bpf_skb_under_cgroup(skb, &groups, 0) ? 10000 : 0;
	if (skb->sk) {
		struct bpf_sock *sk = bpf_sk_fullsock(skb->sk);
		if (sk)
			bpf_sk_storage_get(&storage, sk, 0, 0);
	}
	return seen;
}
SEC("raw_tp/sched_switch") int traces_stacks(void *ctx)
{
	long value = 1;
	bpf_get_stackid(ctx, &traces, 0);
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &value, sizeof(value));
	return 0;
}
SEC("sk_skb/stream_verdict") int redirects(struct __sk_buff *skb)
{
	int key = 0;
	return bpf_sk_redirect_hash(skb, &sockets, &key, 0);
}
