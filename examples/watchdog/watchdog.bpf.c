// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Sees starts of programs, opened files, connections and changes of privileges, and acts by rules: reports to user space,
// kills the process, or forbids the call.
//
// A rule is a bit. User space compiles rules to tables in which a value (a path, an address, a user) leads to the rules
// whose condition it satisfies; the AND over all conditions has the rules that match. The number of rules, up to
// 64, is therefore irrelevant for the cost. Every key begins with a generation: programs use the one that `active`
// names, user space fills the other and then changes `active`, a single word.
//
// The watch_ programs are at tracepoints, and can kill. The guard_ programs (BPF LSM) forbid calls, if a manifest has them.
#include "datagram.h"
#include "file_path.h"
#include "opened_file.h"
#include <linux/socket.h>
#include <bpf/bpf_tracing.h>

#define EPERM 1
#define SIGKILL 9
#define MAX_VALUES 16384
#define MAX_LEVELS 8
#define LAST_CAPABILITY 40

enum event_kind { EXEC, OPEN, OPEN_TO_WRITE, CONNECT, PRIVILEGES, EVENT_KINDS };

// Conditions of rules. The first ones are looked up in `values`, the last two in tries.
enum condition { COMM, PARENT, UID, CGROUP, PORT, PROTOCOL, NEW_UID, GAINS, DESTINATION, PATH, CONDITIONS };

// `asking` has the rules with a condition, which saves half of an event's lookups.
struct set {
	__u64 of_event[EVENT_KINDS];
	__u64 kill;
	__u64 forbid;
	__u64 asking[CONDITIONS];
	__u64 otherwise[CONDITIONS]; // rules for a value that is in no table
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); // by generation
	__type(key, __u32);
	__type(value, struct set);
} sets SEC(".maps");

// Revision of the rules in force; bit 0 is their generation.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} active SEC(".maps");

// 0: shadow. Only with 1, rules kill and forbid.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} mode SEC(".maps");

struct value {
	__u32 generation;
	__u32 condition;
	char data[COMM_LENGTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VALUES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct value);
	__type(value, __u64);
} values SEC(".maps");

// A path with its final zero is a complete path; without it, it is a prefix.
#define PATH_LENGTH 252

struct path_text {
	char text[PATH_LENGTH];
};

struct path_prefix {
	__u32 bits;
	__u32 generation;
	struct path_text path;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_VALUES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct path_prefix);
	__type(value, __u64);
} paths SEC(".maps");

// IPv4 addresses are mapped to IPv6: ::ffff:192.0.2.1.
struct address_prefix {
	__u32 bits;
	__u32 generation;
	struct in6_addr address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_VALUES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address_prefix);
	__type(value, __u64);
} destinations SEC(".maps");

// For user space only: names and actions of rules, 64 per generation, and the process that replaces them.
struct name {
	char text[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct name);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} writer SEC(".maps");

// Number of matches of each rule, 64 per generation, including those whose event was lost.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, __u64);
} matches SEC(".maps");

// Counters of actions. User space reads these slots by number.
enum deed { SEEN, MATCHED, KILLED, NOT_KILLED, FORBIDDEN, UNNAMED, UNDECIDED, DEEDS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DEEDS);
	__type(key, __u32);
	__type(value, __u64);
} deeds SEC(".maps");

#define FLAG_ENFORCED 1
#define FLAG_KILLED 2
#define FLAG_FORBIDDEN 4

// User space parses this by hand, in the machine's byte order.
struct event {
	struct process process;
	__u64 revision;
	__u64 rules; // matching rules
	__u64 gains; // capabilities
	__u32 new_uid;
	__u16 port;
	__u8 kind;
	__u8 flags;
	struct in6_addr address;
	__u32 protocol; // of CONNECT
	struct path_text path;
	struct path_text given; // of EXEC: the argument of execve
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
	__type(value, struct event);
} events SEC(".maps");

// Counts events that found the ring buffer full.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

// Privileges of a thread before a call that may change them.
struct privileges {
	__u64 capabilities;
	__u32 uid;
	__u32 euid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32); // the thread
	__type(value, struct privileges);
} before SEC(".maps");

// Data of one event, too large for the stack. On a CPU, the kernel runs a program at a tracepoint once at a time,
// so each has one entry. It may preempt a guard and run another task's guard: guards have several entries per CPU,
// and if those are in use, borrow one from a table of all CPUs.
struct moment {
	__u32 users; // number of claims; 1 while a guard has it
	__u32 borrower; // the thread that has borrowed it, or 0
	struct process process;
	__u64 revision;
	__u64 gains;
	__u32 new_uid;
	__u16 port;
	__u16 protocol;
	__u8 kind;
	struct address_prefix address;
	struct path_prefix path;
	struct path_prefix given;
	struct path_buffer buffer;
};

enum place {
	AT_EXEC,
	AT_OPEN,
	AT_CONNECT,
	AT_DATAGRAM,
	AT_PRIVILEGES,
	AT_EXEC_GUARD,
	AT_OPEN_GUARD,
	AT_CONNECT_GUARD,
	AT_SEND_GUARD,
	PLACES
};

#define GUARD_MOMENTS 4
#define ALL_MOMENTS (AT_EXEC_GUARD + (PLACES - AT_EXEC_GUARD) * GUARD_MOMENTS)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ALL_MOMENTS);
	__type(key, __u32);
	__type(value, struct moment);
} moments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32); // the thread: it decides about one call at a time
	__type(value, struct moment);
} borrowed SEC(".maps");

// Initial contents of a borrowed entry.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moment);
} unused SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct socket {
	struct sock *sk;
};
struct msghdr {
	void *msg_name;
};
#pragma clang attribute pop

// Set by the manifest with the guard_ programs, which then evaluate the exec rules that forbid.
const volatile __u8 guarded = 0;

static __always_inline void count(void *map, __u32 slot)
{
	__u64 *count = bpf_map_lookup_elem(map, &slot);

	if (count)
		(*count)++;
}

static __always_inline bool is_enforced(void)
{
	__u32 zero = 0;
	__u64 *enforce = bpf_map_lookup_elem(&mode, &zero);

	return enforce && *enforce;
}

static __always_inline bool is_guard(enum place place)
{
	return place >= AT_EXEC_GUARD;
}

static __always_inline struct moment *borrow_moment(void)
{
	__u32 zero = 0, thread = (__u32)bpf_get_current_pid_tgid();
	struct moment *moment = bpf_map_lookup_elem(&unused, &zero);

	if (!moment || bpf_map_update_elem(&borrowed, &thread, moment, BPF_ANY))
		return NULL;
	moment = bpf_map_lookup_elem(&borrowed, &thread);
	if (moment)
		moment->borrower = thread;
	return moment;
}

// A guard has an entry if it is the only one that has added itself. If two add themselves at once, both may
// continue with the next entry, but never both get this one.
static __always_inline struct moment *take_moment(enum place place)
{
	__u32 at = place;

	if (!is_guard(place))
		return bpf_map_lookup_elem(&moments, &at);
	for (__u32 turn = 0; turn < GUARD_MOMENTS; turn++) {
		struct moment *moment;

		at = AT_EXEC_GUARD + (place - AT_EXEC_GUARD) * GUARD_MOMENTS + turn;
		moment = bpf_map_lookup_elem(&moments, &at);
		if (!moment)
			return NULL;
		__sync_fetch_and_add(&moment->users, 1);
		if (*(volatile __u32 *)&moment->users == 1)
			return moment;
		__sync_fetch_and_add(&moment->users, -1);
	}
	return borrow_moment();
}

static __always_inline void leave_moment(struct moment *moment)
{
	__u32 borrower = moment->borrower;

	if (borrower) {
		bpf_map_delete_elem(&borrowed, &borrower);
		return;
	}
	// All reads of the entry are before this point.
	asm volatile("" ::: "memory");
	__sync_fetch_and_add(&moment->users, -1);
}

// Begins an event, if there are rules for its kind; the caller fills in the rest. Sets `rules` without returning an
// entry if none is free: the rules can then not be evaluated.
static __always_inline struct moment *begin(enum place place, enum event_kind kind, __u64 *rules, struct set **set)
{
	__u32 zero = 0, generation;
	__u64 *revision = bpf_map_lookup_elem(&active, &zero), now;
	struct moment *moment;

	*rules = 0;
	count(&deeds, SEEN);
	if (!revision)
		return NULL;
	now = *(volatile __u64 *)revision; // once: it may change meanwhile
	generation = now & 1;
	*set = bpf_map_lookup_elem(&sets, &generation);
	if (!*set)
		return NULL;
	*rules = (*set)->of_event[kind];
	if (is_guard(place))
		*rules &= (*set)->forbid;
	else if (guarded)
		*rules &= ~(*set)->forbid;
	if (!*rules)
		return NULL;
	moment = take_moment(place);
	if (!moment)
		return NULL;
	moment->revision = now;
	moment->kind = kind;
	moment->gains = 0;
	moment->new_uid = 0;
	moment->port = 0;
	moment->protocol = 0;
	moment->address.bits = 0;
	moment->path.bits = 0;
	moment->given.bits = 0;
	moment->address.generation = moment->path.generation = moment->given.generation = generation;
	tell_process(&moment->process);
	return moment;
}

static __always_inline __u64 found(struct set *set, enum condition condition, __u64 *in_table)
{
	return in_table ? *in_table : set->otherwise[condition];
}

static __always_inline __u64 by_word(struct moment *moment, struct set *set, enum condition condition, __u64 word)
{
	struct value value = { .generation = moment->path.generation, .condition = condition };

	__builtin_memcpy(value.data, &word, sizeof(word));
	return found(set, condition, bpf_map_lookup_elem(&values, &value));
}

static __always_inline __u64 by_name(struct moment *moment, struct set *set, enum condition condition, char *name)
{
	struct value value = { .generation = moment->path.generation, .condition = condition };

	// Behind the end of a name, there may be the rest of a longer one.
	if (bpf_probe_read_kernel_str(value.data, sizeof(value.data), name) < 0)
		return 0;
	return found(set, condition, bpf_map_lookup_elem(&values, &value));
}

// The nearest cgroup in the table decides: user space has included the rules of the cgroups above it.
static __always_inline __u64 by_group(struct moment *moment, struct set *set)
{
	for (int level = MAX_LEVELS; level > 0; level--) {
		struct value value = { .generation = moment->path.generation, .condition = CGROUP };
		__u64 group = bpf_get_current_ancestor_cgroup_id(level), *in_table;

		if (!group)
			continue;
		__builtin_memcpy(value.data, &group, sizeof(group));
		in_table = bpf_map_lookup_elem(&values, &value);
		if (in_table)
			return *in_table;
	}
	return set->otherwise[CGROUP];
}

// A rule matches if any of its capabilities was gained.
static __always_inline __u64 by_capabilities(struct moment *moment, struct set *set)
{
	__u64 rules = set->otherwise[GAINS];

	for (int capability = 0; capability <= LAST_CAPABILITY; capability++)
		if (moment->gains & (1ULL << capability))
			rules |= by_word(moment, set, GAINS, capability);
	return rules;
}

static __always_inline __u64 by_path(struct moment *moment, struct set *set)
{
	__u64 rules = set->otherwise[PATH];

	if (moment->path.bits)
		rules = found(set, PATH, bpf_map_lookup_elem(&paths, &moment->path));
	// A script is matched by the path given to execve: the file that runs is its interpreter.
	if (moment->given.bits && moment->given.path.text[0] == '/')
		rules |= found(set, PATH, bpf_map_lookup_elem(&paths, &moment->given));
	return rules;
}

// Returns the rules whose conditions all hold. Cheap conditions come first: often no rule is left for the others.
static __always_inline __u64 matching(struct moment *moment, struct set *set, __u64 rules)
{
	if (rules & set->asking[UID])
		rules &= by_word(moment, set, UID, moment->process.uid);
	if (rules & set->asking[COMM])
		rules &= by_name(moment, set, COMM, moment->process.comm);
	if (rules & set->asking[PARENT])
		rules &= by_name(moment, set, PARENT, moment->process.parent_comm);
	if (rules & set->asking[CGROUP])
		rules &= by_group(moment, set);
	if (rules & set->asking[PORT])
		rules &= by_word(moment, set, PORT, moment->port);
	if (rules & set->asking[PROTOCOL])
		rules &= by_word(moment, set, PROTOCOL, moment->protocol);
	if (rules & set->asking[NEW_UID])
		rules &= by_word(moment, set, NEW_UID, moment->new_uid);
	if (rules & set->asking[GAINS])
		rules &= by_capabilities(moment, set);
	if (rules & set->asking[DESTINATION])
		rules &= found(set, DESTINATION, bpf_map_lookup_elem(&destinations, &moment->address));
	if (rules & set->asking[PATH])
		rules &= by_path(moment, set);
	return rules;
}

static __always_inline void report(struct moment *moment, __u64 rules, __u8 flags)
{
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count(&lost, 0);
		return;
	}
	event->process = moment->process;
	event->revision = moment->revision;
	event->rules = rules;
	event->gains = moment->gains;
	event->new_uid = moment->new_uid;
	event->port = moment->port;
	event->kind = moment->kind;
	event->flags = flags;
	event->address = moment->address.address;
	event->protocol = moment->protocol;
	event->path.text[0] = event->given.text[0] = 0;
	if (moment->path.bits)
		bpf_probe_read_kernel_str(&event->path, sizeof(event->path), &moment->path.path);
	if (moment->given.bits)
		bpf_probe_read_kernel_str(&event->given, sizeof(event->given), &moment->given.path);
	bpf_ringbuf_submit(event, 0);
}

// Acts by the rules and then reports, so that a full ring buffer affects the report only. Returns true to forbid the call.
static __always_inline bool judge(struct moment *moment, struct set *set, __u64 rules, bool can_forbid)
{
	__u32 first = moment->path.generation * 64;
	__u8 flags = 0;

	rules = matching(moment, set, rules);
	if (!rules)
		return false;
	if (is_enforced()) {
		flags = FLAG_ENFORCED;
		if (can_forbid && (rules & set->forbid)) {
			flags |= FLAG_FORBIDDEN;
			count(&deeds, FORBIDDEN);
		}
		if (rules & set->kill) {
			bool killed = !bpf_send_signal(SIGKILL);

			flags |= killed ? FLAG_KILLED : 0;
			count(&deeds, killed ? KILLED : NOT_KILLED);
		}
	}
	count(&deeds, MATCHED);
	for (int rule = 0; rule < 64; rule++)
		if (rules & (1ULL << rule))
			count(&matches, first + rule);
	report(moment, rules, flags);
	return flags & FLAG_FORBIDDEN;
}

// Notes the kernel's path of the file, which the process cannot change.
static __always_inline void name_file(struct moment *moment, struct file *file)
{
	int start = find_path(&moment->buffer, file);
	long length;

	if (start < 0) {
		count(&deeds, UNNAMED);
		return;
	}
	length = bpf_probe_read_kernel_str(&moment->path.path, PATH_LENGTH, &moment->buffer.text[start & (MAX_PATH - 1)]);
	if (length > 0) // cut if it is longer: prefixes are compared as far as it goes
		moment->path.bits = 32 + 8 * length;
}

static __always_inline enum event_kind opening(struct file *file)
{
	return BPF_CORE_READ(file, f_mode) & MODE_WRITE ? OPEN_TO_WRITE : OPEN;
}

// For open, openat, openat2 and creat: the descriptor leads to the opened file.
SEC("tracepoint/syscalls/sys_exit_openat")
int watch_open(struct sys_exit *ctx)
{
	struct file *file = opened_file(ctx);
	struct moment *moment;
	struct set *set;
	__u64 rules;

	if (!file)
		return 0;
	moment = begin(AT_OPEN, opening(file), &rules, &set);
	if (!moment)
		return 0;
	name_file(moment, file);
	judge(moment, set, rules, false);
	return 0;
}

static __always_inline void name_executable(struct moment *moment, struct linux_binprm *program)
{
	long length = bpf_probe_read_kernel_str(&moment->given.path, PATH_LENGTH, BPF_CORE_READ(program, filename));

	if (length > 0)
		moment->given.bits = 32 + 8 * length;
	name_file(moment, BPF_CORE_READ(program, file));
}

static __always_inline struct privileges privileges_now(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct privileges now = { .uid = BPF_CORE_READ(cred, uid.val), .euid = BPF_CORE_READ(cred, euid.val) };

	bpf_probe_read_kernel(&now.capabilities, sizeof(now.capabilities), &cred->cap_effective);
	return now;
}

// Reports another user, or a further capability, than before the call.
static __always_inline void compare_privileges(__u32 thread)
{
	struct privileges *noted = bpf_map_lookup_elem(&before, &thread), had, now;
	struct moment *moment;
	struct set *set;
	__u64 rules;

	if (!noted)
		return;
	had = *noted;
	// A call is compared once; the next call records again.
	bpf_map_delete_elem(&before, &thread);
	now = privileges_now();
	if (!(now.capabilities & ~had.capabilities) && now.uid == had.uid && now.euid == had.euid)
		return;
	moment = begin(AT_PRIVILEGES, PRIVILEGES, &rules, &set);
	if (!moment)
		return;
	moment->gains = now.capabilities & ~had.capabilities;
	moment->new_uid = now.euid;
	moment->process.uid = had.uid;
	judge(moment, set, rules, false);
}

// For setuid, setreuid, setresuid, capset, execve and execveat.
SEC("tracepoint/syscalls/sys_enter_setuid")
int watch_call(void *ctx)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	struct privileges now = privileges_now();

	bpf_map_update_elem(&before, &thread, &now, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_setuid")
int watch_privileges(struct sys_exit *ctx)
{
	if (!ctx->result)
		compare_privileges((__u32)bpf_get_current_pid_tgid());
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(watch_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	struct set *set;
	__u64 rules;
	struct moment *moment = begin(AT_EXEC, EXEC, &rules, &set);

	compare_privileges(old_pid); // of a program with the set-user-ID bit
	if (!moment)
		return 0;
	name_executable(moment, program);
	judge(moment, set, rules, false);
	return 0;
}

// Runs when this process opens a TCP connection: the kernel has the address, and has not sent the first packet.
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(watch_connect, struct sock *socket, int old, int new)
{
	struct moment *moment;
	struct set *set;
	__u64 rules;

	if (new != BPF_TCP_SYN_SENT)
		return 0;
	moment = begin(AT_CONNECT, CONNECT, &rules, &set);
	if (!moment)
		return 0;
	moment->address.bits = 32 + 128;
	moment->port = tell_destination(socket, &moment->address.address);
	moment->protocol = BPF_CORE_READ(socket, sk_protocol);
	judge(moment, set, rules, false);
	return 0;
}

// For connect, sendto, sendmsg and sendmmsg.
SEC("tracepoint/syscalls/sys_exit_connect")
int watch_datagram(struct sys_exit *ctx)
{
	struct datagram datagram;
	struct moment *moment;
	struct set *set;
	__u64 rules;

	if (!noted_datagram(&datagram))
		return 0;
	moment = begin(AT_DATAGRAM, CONNECT, &rules, &set);
	if (!moment)
		return 0;
	moment->address.bits = 32 + 128;
	moment->address.address = datagram.address;
	moment->port = datagram.port;
	moment->protocol = datagram.protocol;
	judge(moment, set, rules, false);
	return 0;
}

static __always_inline int answer(bool forbids)
{
	if (!forbids)
		return 0;
	// Otherwise clang negates the value in a register, and the verifier forgets that it is 0 or 1.
	asm volatile("" ::: "memory");
	return -EPERM;
}

// Forbids calls that could not be evaluated while there are rules: otherwise a user could evade them by using up all entries.
static __always_inline int answer_without_moment(__u64 rules)
{
	if (!rules)
		return 0;
	count(&deeds, UNDECIDED);
	return answer(is_enforced());
}

static __always_inline int answer_by(struct moment *moment, struct set *set, __u64 rules)
{
	bool forbids = judge(moment, set, rules, true);

	leave_moment(moment);
	return answer(forbids);
}

SEC("lsm/file_open")
int BPF_PROG(guard_open, struct file *file)
{
	struct set *set;
	__u64 rules;
	struct moment *moment = begin(AT_OPEN_GUARD, opening(file), &rules, &set);

	if (!moment)
		return answer_without_moment(rules);
	name_file(moment, file);
	return answer_by(moment, set, rules);
}

// Before a file is executed: called for a script, and then for its interpreter.
SEC("lsm/bprm_check_security")
int BPF_PROG(guard_exec, struct linux_binprm *program)
{
	struct set *set;
	__u64 rules;
	struct moment *moment = begin(AT_EXEC_GUARD, EXEC, &rules, &set);

	if (!moment)
		return answer_without_moment(rules);
	name_executable(moment, program);
	return answer_by(moment, set, rules);
}

// Uses the kernel's copy of the address.
static __always_inline int guard_destination(struct socket *socket, void *address, enum place place)
{
	struct sockaddr_in6 v6 = {};
	struct moment *moment;
	struct set *set;
	__u64 rules;

	if (bpf_probe_read_kernel(&v6, sizeof(v6), address) < 0)
		return 0;
	if (v6.sin6_family != AF_INET && v6.sin6_family != AF_INET6)
		return 0;
	moment = begin(place, CONNECT, &rules, &set);
	if (!moment)
		return answer_without_moment(rules);
	moment->address.bits = 32 + 128;
	moment->address.address = v6.sin6_addr;
	moment->port = bpf_ntohs(v6.sin6_port); // at the same place in both
	moment->protocol = BPF_CORE_READ(socket, sk, sk_protocol);
	if (v6.sin6_family == AF_INET) // whose address lies where IPv6 has its flow
		map_v4(&moment->address.address, v6.sin6_flowinfo);
	return answer_by(moment, set, rules);
}

SEC("lsm/socket_connect")
int BPF_PROG(guard_connect, struct socket *socket, struct sockaddr *address, int length)
{
	return guard_destination(socket, address, AT_CONNECT_GUARD);
}

// For a send with an address: on a connected socket it has none.
SEC("lsm/socket_sendmsg")
int BPF_PROG(guard_send, struct socket *socket, struct msghdr *message, int size)
{
	void *address = BPF_CORE_READ(message, msg_name);

	return address ? guard_destination(socket, address, AT_SEND_GUARD) : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
