// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Moves local TCP data from socket to socket. Both ends of a connection within one network namespace are put into a
// map as soon as they are established; data that one end sends is put into the receive queue of the other, past TCP
// and IP. Data that cannot take this path goes over TCP as before.
//
// The receiver reads data that came from socket to socket before data that came over TCP. A direction that has used TCP
// therefore stays with TCP to its end, so that no data is reordered. A change from the shortcut to TCP keeps the order.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define MAX_SOCKETS 65536

// Maximum number of unread bytes of a socket. `load --global queue_limit=…` sets another number.
const volatile __s32 queue_limit = 16 << 20;

// One end of a connection. Pods may have the same addresses: the namespace distinguishes them.
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

// User space's rules for ports; port 0 has the rule for ports without an entry.
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
	SHORTCUT, // moved from socket to socket
	NO_PEER, // the other end is not in the map, or not yet, or no longer
	DENIED, // by the rule of a port
	AFTER_TCP, // TCP has carried data in this direction before
	QUEUE_FULL, // the other end does not read
	ERRORS, // sockets that the map refused; no bytes
	SOCKETS, // sockets added to the map; no bytes
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

// The fields of the kernel's structures that are read here.
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

// Both contexts have fields of the same names. The kernel keeps the remote port in the upper half. Volatile:
// otherwise clang would select an address and then read it, which the verifier refuses for a context.
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

// Rules exist for either port, the service's or the client's. A rule that differs from the default decides.
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
	// MPTCP itself moves messages between its connections.
	if (tcp && bpf_core_field_exists(tcp->is_mptcp) && tcp->is_mptcp)
		return 1;
	count(bpf_sock_hash_update(ctx, &sockets, &end, BPF_ANY) ? ERRORS : SOCKETS, 0);
	return 1;
}

// Returns whether a message may go to the socket that was found, or the reason why not.
static __always_inline enum outcome judge(struct tcp_sock *from, struct sock *to)
{
	struct sock *sock = bpf_rdonly_cast(to, bpf_core_type_id_kernel(struct sock));
	struct tcp_sock *tcp = bpf_rdonly_cast(to, bpf_core_type_id_kernel(struct tcp_sock));

	// All data written over TCP was read: there was none. The comparison also shows that these are the ends of
	// one connection, whose sequence numbers began alike.
	if (tcp->copied_seq != from->write_seq || tcp->inet_conn.icsk_ulp_ops)
		return AFTER_TCP;
	// The kernel does not slow the sender down on this path. TCP, which is used instead, does.
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
	// A redirect cannot be undone, but its own socket can be set as the target instead.
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
