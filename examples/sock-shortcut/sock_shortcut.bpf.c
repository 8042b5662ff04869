// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Carries local TCP from socket to socket. Both ends of a connection within one network namespace are put into a map as
// soon as they are established; what one end sends is put into the receive queue of the other, past TCP and IP. Whatever
// cannot go that way goes as it always did.
//
// The receiver reads what came socket to socket before what came over TCP. So a direction in which anything went over TCP
// stays with TCP to its end: nothing can overtake. The other way round the order is right.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define MAX_SOCKETS 65536

// Bytes that wait to be read from one socket, at most. `load --global queue_limit=…` sets another number.
const volatile __s32 queue_limit = 16 << 20;

// One end. Pods may have the same addresses: the namespace tells them apart.
struct end {
	__u64 namespace; // its cookie
	struct in6 {
		__be32 words[4];
	} local, remote; // IPv4 as ::ffff:a.b.c.d: one end may be an IPv4 socket, and the other an IPv6 one
	__u32 local_port, remote_port; // of the host's byte order
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, MAX_SOCKETS);
	__type(key, struct end);
	__type(value, __u32);
} sockets SEC(".maps");

// What user space says about ports; about those that are not in here, port 0 decides.
enum rule { DENY, ALLOW };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SOCKETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32); // enum rule
} ports SEC(".maps");

// User space reads these slots by number.
enum outcome {
	SHORTCUT, // socket to socket
	NO_PEER, // the other end is not here, or not yet, or no longer
	DENIED, // a port's rule
	AFTER_TCP, // TCP has carried something in this direction before
	QUEUE_FULL, // the other end does not read
	ERRORS, // refused by the map: sockets, without bytes
	SOCKETS, // put into the map, without bytes
	OUTCOMES,
};

struct count {
	__u64 messages;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, __u32);
	__type(value, struct count);
} stats SEC(".maps");

// What is looked at of the kernel's own structures.
struct sock {
	struct {
		struct {
			int counter;
		} rmem_alloc;
	} sk_backlog;
} __attribute__((preserve_access_index));

struct inet_connection_sock {
	void *icsk_ulp_ops;
} __attribute__((preserve_access_index));

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 write_seq, copied_seq, data_segs_out;
	bool is_mptcp;
} __attribute__((preserve_access_index));

struct sk_msg {
	struct sock *sk_redir;
} __attribute__((preserve_access_index));

extern void *bpf_cast_to_kern_ctx(void *) __ksym;
extern void *bpf_rdonly_cast(const void *, __u32) __ksym;

static __always_inline void count(__u32 outcome, __u64 bytes)
{
	struct count *count = bpf_map_lookup_elem(&stats, &outcome);

	if (count) { // this CPU's own, but another task of it may come in between
		__sync_fetch_and_add(&count->messages, 1);
		__sync_fetch_and_add(&count->bytes, bytes);
	}
}

static __always_inline struct in6 mapped(__be32 address)
{
	return (struct in6){ { 0, 0, bpf_htonl(0xffff), address } };
}

// Both contexts have fields of the same names. The kernel keeps the remote port in the upper half. Volatile: clang would
// otherwise choose an address and then read, which the verifier refuses of a context.
#define FIELD(field) (*(volatile __u32 *)&(field))
#define END_OF(ctx)                                                                                                  \
	({                                                                                                           \
		struct end end = { .namespace = bpf_get_netns_cookie(ctx),                                           \
				   .local = { { FIELD((ctx)->local_ip6[0]), FIELD((ctx)->local_ip6[1]),              \
						FIELD((ctx)->local_ip6[2]), FIELD((ctx)->local_ip6[3]) } },          \
				   .remote = { { FIELD((ctx)->remote_ip6[0]), FIELD((ctx)->remote_ip6[1]),           \
						 FIELD((ctx)->remote_ip6[2]), FIELD((ctx)->remote_ip6[3]) } },       \
				   .local_port = (ctx)->local_port,                                                  \
				   .remote_port = bpf_ntohl((ctx)->remote_port) };                                   \
		if ((ctx)->family == AF_INET) {                                                                      \
			end.local = mapped(FIELD((ctx)->local_ip4));                                                 \
			end.remote = mapped(FIELD((ctx)->remote_ip4));                                               \
		}                                                                                                    \
		end;                                                                                                 \
	})

// A rule may name either port of a connection: the service's, or that of who asks. What differs from the rest decides.
static __always_inline bool allowed(__u32 one, __u32 other)
{
	__u32 rest = 0;
	__u32 *rule = bpf_map_lookup_elem(&ports, &rest);
	__u32 otherwise = rule ? *rule : ALLOW;

	rule = bpf_map_lookup_elem(&ports, &one);
	if (rule && *rule != otherwise)
		return *rule;
	rule = bpf_map_lookup_elem(&ports, &other);
	return rule ? *rule : otherwise;
}

SEC("sockops")
int remember(struct bpf_sock_ops *ctx)
{
	struct tcp_sock *tcp;
	struct end end;

	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	end = END_OF(ctx);
	if (!allowed(end.local_port, end.remote_port))
		return 1;
	tcp = ctx->sk ? bpf_skc_to_tcp_sock(ctx->sk) : NULL;
	// MPTCP moves messages among its connections itself.
	if (tcp && bpf_core_field_exists(tcp->is_mptcp) && tcp->is_mptcp)
		return 1;
	count(bpf_sock_hash_update(ctx, &sockets, &end, BPF_ANY) ? ERRORS : SOCKETS, 0);
	return 1;
}

// What says that a message may go to the socket that was found, or why not.
static __always_inline enum outcome judge(struct tcp_sock *from, struct sock *to)
{
	struct sock *sock = bpf_rdonly_cast(to, bpf_core_type_id_kernel(struct sock));
	struct tcp_sock *tcp = bpf_rdonly_cast(to, bpf_core_type_id_kernel(struct tcp_sock));

	// What was written over TCP is what was read: nothing. It also says that these are the ends of one connection: their
	// numbers began alike.
	if (tcp->copied_seq != from->write_seq || tcp->inet_conn.icsk_ulp_ops)
		return AFTER_TCP;
	// The kernel does not slow the sender down. TCP, which goes on, does.
	if (sock->sk_backlog.rmem_alloc.counter > queue_limit)
		return QUEUE_FULL;
	return SHORTCUT;
}

static __always_inline enum outcome choose(struct sk_msg_md *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tcp_sock *tcp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
	struct end own, peer;
	enum outcome outcome;

	if (!tcp || tcp->data_segs_out || tcp->inet_conn.icsk_ulp_ops)
		return AFTER_TCP;
	own = END_OF(ctx);
	if (!allowed(own.local_port, own.remote_port))
		return DENIED;
	peer = (struct end){ .namespace = own.namespace,
			     .local = own.remote,
			     .remote = own.local,
			     .local_port = own.remote_port,
			     .remote_port = own.local_port };
	if (bpf_msg_redirect_hash(ctx, &sockets, &peer, BPF_F_INGRESS) != SK_PASS)
		return NO_PEER;
	outcome = judge(tcp, ((struct sk_msg *)bpf_cast_to_kern_ctx(ctx))->sk_redir);
	// What was redirected cannot be taken back, but can be sent by its own socket instead.
	if (outcome != SHORTCUT && bpf_msg_redirect_hash(ctx, &sockets, &own, 0) != SK_PASS)
		return ERRORS;
	return outcome;
}

SEC("sk_msg")
int carry(struct sk_msg_md *ctx)
{
	__u32 bytes = ctx->size;

	count(choose(ctx), bytes);
	return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
