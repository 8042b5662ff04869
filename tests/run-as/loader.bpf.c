#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

static void count(__u32 key) {
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    if (value) __sync_fetch_and_add(value, 1);
}

SEC("xdp")
int packets(struct xdp_md *context) {
    count(0);
    return XDP_PASS;
}

SEC("tracepoint/sched/sched_process_exec")
int execs(void *context) {
    count(1);
    return 0;
}

SEC("classifier")
int pass(struct __sk_buff *context) {
    return -1;
}

char _license[] SEC("license") = "GPL";
