/* An array of programs that the object fills, and programs of other kinds that use one array. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

int xdp_drops(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__array(values, int(void *));
} jumps SEC(".maps") = {.values = {[2] = (void *)&xdp_drops}};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} mixed SEC(".maps");

SEC("xdp") int xdp_drops(struct xdp_md *ctx) { return XDP_DROP; }

SEC("xdp") int xdp_enters(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 2);
	return XDP_PASS;
}

SEC("xdp") int xdp_alone(struct xdp_md *ctx) { return XDP_PASS; }

SEC("xdp") int xdp_mixes(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &mixed, 0);
	return XDP_PASS;
}

SEC("tc") int tc_mixes(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, &mixed, 1);
	return -1;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} buffers SEC(".maps");

SEC("xdp") int xdp_joins(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &buffers, 0);
	return XDP_PASS;
}

SEC("xdp.frags") int frags_join(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &buffers, 1);
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u32);
} by_name SEC(".maps");

SEC("xdp") int xdp_shares(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &by_name, 0);
	return XDP_PASS;
}

SEC("tc") int tc_shares(struct __sk_buff *ctx)
{
	bpf_tail_call(ctx, &by_name, 1);
	return -1;
}

char LICENSE[] SEC("license") = "GPL";
