// The program that seeds load: a map, a global variable, one function.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

volatile const __u32 limit = 7;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

SEC("xdp")
int pass(struct xdp_md *context)
{
    __u32 key = limit & 3;
    __u64 *count = bpf_map_lookup_elem(&counts, &key);

    if (count)
        *count += 1;
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
