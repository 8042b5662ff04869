// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Reports data that programs read and write through OpenSSL and Go's crypto/tls, before it is encrypted and after
// it is decrypted: by process and cgroup, and only the beginning of each call's data.
//
// The `enter` programs record the address of a call's data; the `leave` programs know its length. The functions of
// OpenSSL differ: SSL_read and SSL_write return a length; SSL_read_ex and SSL_write_ex return 1, and write the
// length to the address in their fourth argument.
//
// The `go_` programs are for (*Conn).Read and (*Conn).Write. A return probe would change return addresses, which Go reads
// when it moves a stack. Therefore go_enter is at the function, and the two others are at each of its return instructions.
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MAX_CALLS 16384
#define COMM_LENGTH 16
#define PIECE 1024
#define MAX_PIECES 4

// Bytes of a call that are reported, at most 4096. `load --global sample_bytes=…` sets another number.
const volatile __u32 sample_bytes = MAX_PIECES * PIECE;

// A running call of a thread.
struct call {
	__u64 connection; // the address of its SSL structure
	__u64 bytes;
	__u64 length; // address of the length, or 0 if it is returned
};

// A call that never returns, because its thread ended, is evicted when the table is full.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, __u64); // process and thread
	__type(value, struct call);
} calls SEC(".maps");

// A call of a goroutine, which may continue on another thread. A connection within a connection makes a call within
// a call: they differ in their depth, which is the same at both ends, even if the stack moves in between.
struct go_call_key {
	__u64 goroutine;
	__u64 depth; // bytes between the stack's top and the return address
	__u64 process;
};

struct go_call {
	__u64 connection;
	__u64 bytes; // an address, or the distance below the stack's top
	__u64 on_stack;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_CALLS);
	__type(key, struct go_call_key);
	__type(value, struct go_call);
} go_calls SEC(".maps");

enum direction { READ, WRITE };

// User space parses this by hand, in the machine's byte order. A call has as many pieces as its sample needs, in order.
struct piece {
	__u64 time; // nanoseconds since boot, when the call returned
	__u64 cgroup; // id of the task's cgroup
	__u64 connection;
	__u32 pid, tid;
	__u32 uid;
	__u32 direction;
	__u32 total; // bytes of the call
	__u32 offset, length; // of this piece
	__u32 last; // 1: no further piece of this call
	char comm[COMM_LENGTH];
	char bytes[PIECE];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
	__type(value, struct piece);
} pieces SEC(".maps");

// Counts pieces that found the ring buffer full.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void lose(void)
{
	__u32 first = 0;
	__u64 *count = bpf_map_lookup_elem(&lost, &first);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void remember(void *connection, void *bytes, void *length)
{
	__u64 task = bpf_get_current_pid_tgid();
	struct call call = { .connection = (__u64)connection, .bytes = (__u64)bytes, .length = (__u64)length };

	bpf_map_update_elem(&calls, &task, &call, BPF_ANY);
}

SEC("uprobe/SSL_read")
int BPF_KPROBE(enter, void *connection, void *bytes, int length)
{
	remember(connection, bytes, NULL);
	return 0;
}

SEC("uprobe/SSL_read_ex")
int BPF_KPROBE(enter_ex, void *connection, void *bytes, unsigned long wanted, void *length)
{
	remember(connection, bytes, length);
	return 0;
}

// Returns false if the ring buffer was full.
static __always_inline int send_piece(struct call *call, __u64 task, __u32 direction, __u64 total, __u32 offset,
				      __u32 sample)
{
	struct piece *piece = bpf_ringbuf_reserve(&pieces, sizeof(*piece), 0);
	__u64 length = sample - offset;

	if (!piece) {
		lose();
		return 0;
	}
	// Otherwise clang compares another value, and the verifier does not learn the bound of the length.
	barrier_var(length);
	if (length > PIECE)
		length = PIECE;
	piece->time = bpf_ktime_get_boot_ns();
	piece->cgroup = bpf_get_current_cgroup_id();
	piece->connection = call->connection;
	piece->pid = task >> 32;
	piece->tid = (__u32)task;
	piece->uid = (__u32)bpf_get_current_uid_gid();
	piece->direction = direction;
	piece->total = total > 0xffffffff ? 0xffffffff : total;
	piece->offset = offset;
	piece->last = offset + length == sample;
	bpf_get_current_comm(piece->comm, sizeof(piece->comm));
	// The page may not be in memory: the piece then has no bytes.
	piece->length = bpf_probe_read_user(piece->bytes, length, (void *)call->bytes + offset) ? 0 : length;
	bpf_ringbuf_submit(piece, 0);
	return 1;
}

static __always_inline void send_sample(struct call *call, __u64 task, enum direction direction, __u64 total)
{
	// Readers would see no end of a call whose last piece is not sent.
	__u32 most = sample_bytes < MAX_PIECES * PIECE ? sample_bytes : MAX_PIECES * PIECE;
	__u32 sample = total < most ? total : most;

	for (int number = 0; number < MAX_PIECES; number++) {
		__u32 offset = number * PIECE;

		if (offset >= sample || !send_piece(call, task, direction, total, offset, sample))
			break;
	}
}

static __always_inline int send(struct pt_regs *ctx, enum direction direction)
{
	__u64 task = bpf_get_current_pid_tgid(), total = 0;
	struct call *found = bpf_map_lookup_elem(&calls, &task), call;
	int returned = PT_REGS_RC(ctx);

	if (!found)
		return 0;
	call = *found;
	bpf_map_delete_elem(&calls, &task);
	if (returned <= 0)
		return 0;
	total = returned;
	if (call.length && bpf_probe_read_user(&total, sizeof(total), (void *)call.length))
		return 0;
	send_sample(&call, task, direction, total);
	return 0;
}

SEC("uretprobe/SSL_read")
int leave_read(struct pt_regs *ctx)
{
	return send(ctx, READ);
}

SEC("uretprobe/SSL_write")
int leave_write(struct pt_regs *ctx)
{
	return send(ctx, WRITE);
}

// Registers of Go (since Go 1.17; on arm64 since 1.18): receiver, beginning of the slice, and goroutine. A result
// is in the receiver's register.
#if defined(__TARGET_ARCH_arm64)
#define GO_RECEIVER(ctx) (__PT_REGS_CAST(ctx)->regs[0])
#define GO_BYTES(ctx) (__PT_REGS_CAST(ctx)->regs[1])
#define GO_GOROUTINE(ctx) (__PT_REGS_CAST(ctx)->regs[28])
#else
#define GO_RECEIVER(ctx) (__PT_REGS_CAST(ctx)->rax)
#define GO_BYTES(ctx) (__PT_REGS_CAST(ctx)->rbx)
#define GO_GOROUTINE(ctx) (__PT_REGS_CAST(ctx)->r14)
#endif

// Beginning of Go's structure of a goroutine.
struct go_stack {
	__u64 bottom, top;
};

static __always_inline int find_go_call(struct pt_regs *ctx, struct go_stack *stack, struct go_call_key *key)
{
	key->goroutine = GO_GOROUTINE(ctx);
	key->process = bpf_get_current_pid_tgid() >> 32;
	if (bpf_probe_read_user(stack, sizeof(*stack), (void *)key->goroutine))
		return 0;
	key->depth = stack->top - PT_REGS_SP(ctx);
	return 1;
}

// If the stack is full, the function enlarges it and begins again: the call is then recorded again.
SEC("uprobe")
int go_enter(struct pt_regs *ctx)
{
	struct go_call call = { .connection = GO_RECEIVER(ctx), .bytes = GO_BYTES(ctx) };
	struct go_call_key key = {};
	struct go_stack stack;

	if (!find_go_call(ctx, &stack, &key))
		return 0;
	if (call.bytes >= stack.bottom && call.bytes < stack.top) {
		call.bytes = stack.top - call.bytes;
		call.on_stack = 1;
	}
	bpf_map_update_elem(&go_calls, &key, &call, BPF_ANY);
	return 0;
}

static __always_inline int go_send(struct pt_regs *ctx, enum direction direction)
{
	__s64 returned = GO_RECEIVER(ctx);
	struct go_call_key key = {};
	struct go_stack stack;
	struct go_call *found;
	struct call call = {};

	if (!find_go_call(ctx, &stack, &key))
		return 0;
	found = bpf_map_lookup_elem(&go_calls, &key);
	if (!found)
		return 0;
	call.connection = found->connection;
	call.bytes = found->on_stack ? stack.top - found->bytes : found->bytes;
	bpf_map_delete_elem(&go_calls, &key);
	if (returned > 0)
		send_sample(&call, bpf_get_current_pid_tgid(), direction, returned);
	return 0;
}

SEC("uprobe")
int go_leave_read(struct pt_regs *ctx)
{
	return go_send(ctx, READ);
}

SEC("uprobe")
int go_leave_write(struct pt_regs *ctx)
{
	return go_send(ctx, WRITE);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
