/* A map that is a static variable of a function: its name begins with that of the function. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp") int counts(struct xdp_md *ctx)
{
	static struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1);
		__type(key, __u32);
		__type(value, __u64);
	} hits SEC(".maps");
	__u32 key = 0;

	return bpf_map_lookup_elem(&hits, &key) ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
