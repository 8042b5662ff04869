// One program for each cause of a rejection by the verifier: the function has the name of the cause, with a number
// behind it if there are several. Code that clang would refuse or change is in assembly.
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define naked __attribute__((naked))

struct entry {
	char bytes[16];
	struct bpf_spin_lock lock;
	unsigned int index;
	short offset;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, unsigned int);
	__type(value, struct entry);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

// Programs for probes may not use maps with locks.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, unsigned int);
	__type(value, unsigned int);
} sizes SEC(".maps");

const volatile unsigned int constant = 7;

static __always_inline struct entry *first(void)
{
	unsigned int zero = 0;
	return bpf_map_lookup_elem(&entries, &zero);
}

SEC("xdp") int packet_bounds(struct xdp_md *ctx)
{
	return *(char *)(long)ctx->data;
}

SEC("xdp") int map_value_bounds(struct xdp_md *ctx)
{
	struct entry *entry = first();
	return entry ? ((char *)entry)[ctx->rx_queue_index & 1023] : XDP_PASS;
}

SEC("xdp") int unbounded_index(struct xdp_md *ctx)
{
	struct entry *entry = first();
	return entry ? ((char *)entry)[ctx->rx_queue_index] : XDP_PASS;
}

SEC("kprobe") int unbounded_size(void *ctx)
{
	char name[16];
	unsigned int zero = 0, *size = bpf_map_lookup_elem(&sizes, &zero);
	return size && *size > 4 ? bpf_get_current_comm(name, *size) : 0;
}

SEC("kprobe") int zero_size(void *ctx)
{
	char name[16];
	unsigned int zero = 0, *size = bpf_map_lookup_elem(&sizes, &zero);
	return size && *size <= sizeof(name) ? bpf_get_current_comm(name, *size) : 0;
}

SEC("xdp") int negative_index(struct xdp_md *ctx)
{
	struct entry *entry = first();
	if (!entry || entry->offset > 8)
		return XDP_PASS;
	return ((volatile char *)entry)[entry->offset];
}

SEC("xdp") int null(struct xdp_md *ctx)
{
// With a constant key, newer kernels would know that the entry exists.
	unsigned int key = ctx->rx_queue_index;
	return ((struct entry *)bpf_map_lookup_elem(&entries, &key))->index;
}

SEC("xdp") int no_pointer(struct xdp_md *ctx)
{
	return *(char *)(long)ctx->rx_queue_index;
}

SEC("xdp") naked int no_value(struct xdp_md *ctx)
{
	asm volatile("r0 = r2\n exit");
}

SEC("xdp") naked int no_value_2(struct xdp_md *ctx)
{
	asm volatile("exit");
}

SEC("xdp") naked int stack_bounds(struct xdp_md *ctx)
{
	asm volatile("r1 = 0\n *(u64 *)(r10 - 520) = r1\n r0 = 0\n exit");
}

static __noinline int deep(volatile char *text)
{
	volatile char more[400];
	more[text[1] & 255] = 1;
	return more[text[2] & 255];
}

SEC("xdp") int stack_size(struct xdp_md *ctx)
{
	volatile char text[400];
	text[1] = ctx->rx_queue_index;
	return deep(text);
}

SEC("xdp") int helper(struct xdp_md *ctx)
{
	static long (*store)(void *, unsigned int, const void *, unsigned int, unsigned long long) = (void *)BPF_FUNC_skb_store_bytes;
	unsigned int zero = 0;
	return store(ctx, 0, &zero, sizeof(zero), 0);
}

SEC("xdp") int helper_2(struct xdp_md *ctx)
{
	unsigned int value = 0;
	return bpf_map_push_elem(&sizes, &value, 0) ? XDP_PASS : XDP_DROP;
}

SEC("xdp") naked int endless_loop(struct xdp_md *ctx)
{
	asm volatile("r0 = 0\n .Lendless: if r0 == 0 goto .Lendless\n exit");
}

// Each iteration leaves a branch that the verifier has yet to walk.
SEC("xdp") naked int too_complex(struct xdp_md *ctx)
{
	asm volatile("r6 = 0\n"
		     ".Lturn: call 7\n" // bpf_get_prandom_u32
		     "if r0 == 0 goto .Lout\n"
		     "r6 += 1\n"
		     "if r6 < 20000 goto .Lturn\n"
		     ".Lout: r0 = r6\n"
		     "exit");
}

SEC("xdp") naked int no_end(struct xdp_md *ctx)
{
	asm volatile("r0 = 0\n exit\n r0 = 1\n exit");
}

SEC("xdp") int context(struct xdp_md *ctx)
{
	return *(unsigned int *)((char *)ctx + 100);
}

SEC("xdp") int reference(struct xdp_md *ctx)
{
	unsigned int *record = bpf_ringbuf_reserve(&events, 8, 0);
	return record ? XDP_PASS : XDP_DROP;
}

SEC("xdp") naked int argument(struct xdp_md *ctx)
{
	asm volatile("r2 = 8\n r1 = %[entries] ll\n call 1\n r0 = 0\n exit" : : [entries] "i"(&entries));
}

SEC("xdp") naked int pointer_arithmetic(struct xdp_md *ctx)
{
	asm volatile("r1 &= 7\n r0 = 0\n exit");
}

SEC("xdp") naked int pointer_arithmetic_2(struct xdp_md *ctx)
{
	asm volatile("r1 *= 2\n r0 = 0\n exit");
}

SEC("xdp") naked int pointer_arithmetic_3(struct xdp_md *ctx)
{
	asm volatile("r1 += r10\n r0 = 0\n exit");
}

SEC("xdp") int read_only(struct xdp_md *ctx)
{
	asm volatile("*(u32 *)(%0 + 0) = %1" : : "r"(&constant), "r"(1));
	return constant;
}

SEC("xdp") int lock(struct xdp_md *ctx)
{
	struct entry *entry = first();
	if (!entry)
		return XDP_PASS;
	bpf_spin_lock(&entry->lock);
	entry->index = bpf_get_prandom_u32();
	bpf_spin_unlock(&entry->lock);
	return XDP_PASS;
}

SEC("xdp") int lock_2(struct xdp_md *ctx)
{
	struct entry *entry = first();
	if (entry)
		bpf_spin_lock(&entry->lock);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
