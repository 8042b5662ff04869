// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// The radar: reports to user space which processes load, attach, pin and remove eBPF on the machine (docs/radar.md).
//
// The daemon loads these programs one by one, and does without those whose function the kernel lacks. At the load
// it names the function for `call_ended`, which has another name on each architecture.
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define BPF_FS_MAGIC 0xcafe4a11
#define COMM_LENGTH 16
#define NAME_LENGTH 16
#define PATH_LENGTH 128

// Kinds other than the commands of bpf(2), which have their own numbers.
#define XDP_BY_NETLINK 1000
#define SOCKET 1002
#define UNLINK 1003
#define TC_FILTER 1004
#define TC_FILTER_GONE 1005

// Result of a call by a program, which no hook sees. No error has this number.
#define RESULT_UNKNOWN (-4096)

// Kinds of objects behind an event's descriptor.
#define OBJECT_PROGRAM 1
#define OBJECT_MAP 2
#define OBJECT_LINK 3

// Kernel types with the fields that are read here; the loader finds their offsets.
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
struct nsproxy {
	struct net *net_ns;
};
struct qstr {
	const unsigned char *name;
};
struct super_block {
	unsigned long s_magic;
};
struct inode {
	struct super_block *i_sb;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};
struct path {
	struct dentry *dentry;
};
struct file {
	struct path f_path;
	void *private_data;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
struct task_struct {
	struct task_struct *group_leader;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	__u64 start_boottime;
};
struct bpf_prog_aux {
	__u32 id;
	char name[NAME_LENGTH];
};
struct bpf_prog {
	enum bpf_prog_type type;
	__u8 tag[8];
	struct bpf_prog_aux *aux;
};
struct bpf_map {
	enum bpf_map_type map_type;
	__u32 id;
	char name[NAME_LENGTH];
};
struct bpf_link {
	__u32 id;
	enum bpf_link_type type;
	struct bpf_prog *prog;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct net_device {
	int ifindex;
	possible_net_t nd_net;
};
#pragma clang attribute pop

// User space parses this by hand: fields in the machine's byte order, without padding.
struct event {
	__u64 time;	// nanoseconds since boot, without sleep
	__u64 began;	// when the process began: nanoseconds since boot, with sleep; 0: not known
	__u64 group;	// cgroup of version 2
	__u32 process;
	__u32 user;
	__u32 user_group;
	__u32 kind;
	__s32 result;	// 0, -errno, or RESULT_UNKNOWN; of calls that answer with a descriptor, that
	__u32 object;	// what is meant: OBJECT_…; 0: not known
	__u32 program;
	__u32 map;
	__u32 link;
	__u32 type;	// of the program, map or link
	__u32 attach_type;
	__u32 target;	// interface, or a descriptor
	__u32 netns;	// inode of the network namespace that the interface is in
	__s32 descriptor;	// what is attached, pinned or changed, in the process; -1: none
	char command[COMM_LENGTH];
	char name[NAME_LENGTH];
	__u8 tag[8];
	char path[PATH_LENGTH];	// of a pin, cut
};

// Key of counts of events that found the ring buffer full, by process.
struct flood_key {
	__u32 process;
	__u32 user;
	__u32 kind;
	__s32 result;	// 0, or -errno
	char command[COMM_LENGTH];
};

struct flood {
	__u64 count;
	__u64 first;
	__u64 last;
};

// A running call, by thread.
struct call {
	__u32 command;
	__u32 unused;
	__u64 attributes;	// where the process has them, for `traced_ended`
	struct event event;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
	__type(value, struct event);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flood_key);
	__type(value, struct flood);
} floods SEC(".maps");

// 0: all events. 1: events that found the ring full, which `floods` counts by process. 2: events without space in
// `calls`, or that could not be read. 3 and 4 are the daemon's: reported events of 1, besides those in `floods`,
// and of 2. The next daemon that uses these programs continues from there.
#define SEEN 0
#define RING_FULL 1
#define MISSED 2
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

// Zero-filled entry for `calls`: a call on the stack would take most of a program's stack.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call);
} empty_call SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&counts, &what);

	if (counter)
		(*counter)++;
}

static __always_inline void count_flood(const struct event *event)
{
	struct flood_key key = { .process = event->process, .user = event->user, .kind = event->kind };
	struct flood *flood;

	key.result = event->result < 0 ? event->result : 0;
	__builtin_memcpy(key.command, event->command, COMM_LENGTH);
	flood = bpf_map_lookup_elem(&floods, &key);
	if (flood) {
		__sync_fetch_and_add(&flood->count, 1);
		flood->last = event->time;
	} else {
		struct flood first = { .count = 1, .first = event->time, .last = event->time };

		bpf_map_update_elem(&floods, &key, &first, BPF_ANY);
	}
}

static __always_inline void tell(const struct event *event)
{
	count(SEEN);
	if (bpf_ringbuf_output(&events, (void *)event, sizeof(*event), 0) == 0)
		return;
	count(RING_FULL);
	count_flood(event);
}

// Records data of the caller that every kernel provides.
static __always_inline void note_caller(struct event *event)
{
	__u64 ids = bpf_get_current_uid_gid();

	event->time = bpf_ktime_get_ns();
	event->group = bpf_get_current_cgroup_id();
	event->process = bpf_get_current_pid_tgid() >> 32;
	event->user = (__u32)ids;
	event->user_group = ids >> 32;
	event->descriptor = -1;
	bpf_get_current_comm(event->command, sizeof(event->command));
}

// Records data about the caller and its namespaces from kernel structures, found by their BTF.
static __always_inline void note_task(struct event *event)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	event->began = BPF_CORE_READ(task, group_leader, start_boottime);
	event->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
}

static __always_inline void note_program(struct event *event, struct bpf_prog *program)
{
	struct bpf_prog_aux *more = BPF_CORE_READ(program, aux);

	event->object = OBJECT_PROGRAM;
	event->program = BPF_CORE_READ(more, id);
	event->type = BPF_CORE_READ(program, type);
	bpf_core_read(event->tag, sizeof(event->tag), &program->tag);
	bpf_core_read(event->name, sizeof(event->name), &more->name);
}

// Notes the object behind a descriptor of the process. Another thread may have reused the number meanwhile: the
// file shows its kind, which the daemon compares.
static __always_inline void note_descriptor(struct event *event, __s32 descriptor)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	const unsigned char *text;
	struct file *file = 0;
	char what[12] = {};
	void *object;

	if (descriptor < 0 || (__u32)descriptor >= BPF_CORE_READ(table, max_fds))
		return;
	bpf_probe_read_kernel(&file, sizeof(file), files + descriptor);
	if (!file)
		return;
	object = BPF_CORE_READ(file, private_data);
	text = BPF_CORE_READ(file, f_path.dentry, d_name.name);
	bpf_probe_read_kernel_str(what, sizeof(what), text);
	// "bpf-prog", "bpf-map", "bpf_link" and "bpf-link" are the names of the kernel's anonymous files.
	if (what[0] != 'b' || what[1] != 'p' || what[2] != 'f')
		return;
	if (what[4] == 'p') {
		note_program(event, object);
	} else if (what[4] == 'm') {
		struct bpf_map *map = object;

		event->object = OBJECT_MAP;
		event->map = BPF_CORE_READ(map, id);
		event->type = BPF_CORE_READ(map, map_type);
		bpf_core_read(event->name, sizeof(event->name), &map->name);
	} else if (what[4] == 'l') {
		struct bpf_link *link = object;
		struct bpf_prog *program = BPF_CORE_READ(link, prog);

		if (program)
			note_program(event, program);
		event->object = OBJECT_LINK;
		event->link = BPF_CORE_READ(link, id);
		event->type = BPF_CORE_READ(link, type);
	}
}

static __always_inline bool is_told(__u32 command)
{
	switch (command) {
	case BPF_MAP_CREATE:
	case BPF_PROG_LOAD:
	case BPF_OBJ_PIN:
	case BPF_PROG_ATTACH:
	case BPF_PROG_DETACH:
	case BPF_RAW_TRACEPOINT_OPEN:
	case BPF_LINK_CREATE:
	case BPF_LINK_UPDATE:
	case BPF_LINK_DETACH:
		return true;
	}
	return false;
}

static __always_inline __u32 number(const void *place, bool of_kernel)
{
	__u32 value = 0;

	if (of_kernel)
		bpf_probe_read_kernel(&value, sizeof(value), place);
	else
		bpf_probe_read_user(&value, sizeof(value), place);
	return value;
}

static __always_inline void text(char *into, const void *place, bool of_kernel)
{
	if (of_kernel)
		bpf_probe_read_kernel(into, NAME_LENGTH, place);
	else
		bpf_probe_read_user(into, NAME_LENGTH, place);
}

// Notes the request from the kernel's copy of the arguments, which cannot change any more, or from the process's.
static __always_inline void note_request(struct event *event, __u32 command, union bpf_attr *attributes, bool of_kernel)
{
	__u64 address = 0;

	event->kind = command;
	switch (command) {
	case BPF_MAP_CREATE:
		event->type = number(&attributes->map_type, of_kernel);
		text(event->name, &attributes->map_name, of_kernel);
		break;
	case BPF_PROG_LOAD:
		event->type = number(&attributes->prog_type, of_kernel);
		event->attach_type = number(&attributes->expected_attach_type, of_kernel);
		text(event->name, &attributes->prog_name, of_kernel);
		break;
	case BPF_OBJ_PIN:
		event->descriptor = number(&attributes->bpf_fd, of_kernel);
		if (of_kernel)
			bpf_probe_read_kernel(&address, sizeof(address), &attributes->pathname);
		else
			bpf_probe_read_user(&address, sizeof(address), &attributes->pathname);
		bpf_probe_read_user_str(event->path, sizeof(event->path), (void *)address);
		break;
	case BPF_PROG_ATTACH:
	case BPF_PROG_DETACH:
		event->target = number(&attributes->target_fd, of_kernel);
		event->descriptor = number(&attributes->attach_bpf_fd, of_kernel);
		event->attach_type = number(&attributes->attach_type, of_kernel);
		break;
	case BPF_RAW_TRACEPOINT_OPEN:
		event->descriptor = number(&attributes->raw_tracepoint.prog_fd, of_kernel);
		if (of_kernel)
			bpf_probe_read_kernel(&address, sizeof(address), &attributes->raw_tracepoint.name);
		else
			bpf_probe_read_user(&address, sizeof(address), &attributes->raw_tracepoint.name);
		if (address)
			bpf_probe_read_user_str(event->path, sizeof(event->path), (void *)address);
		break;
	case BPF_LINK_CREATE:
		event->descriptor = number(&attributes->link_create.prog_fd, of_kernel);
		event->target = number(&attributes->link_create.target_fd, of_kernel);
		event->attach_type = number(&attributes->link_create.attach_type, of_kernel);
		break;
	case BPF_LINK_UPDATE:
		event->descriptor = number(&attributes->link_update.link_fd, of_kernel);
		event->target = number(&attributes->link_update.new_prog_fd, of_kernel);
		break;
	case BPF_LINK_DETACH:
		event->descriptor = number(&attributes->link_detach.link_fd, of_kernel);
		break;
	}
}

static __always_inline struct call *begin(__u32 command)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	__u32 first = 0;
	struct call *none = bpf_map_lookup_elem(&empty_call, &first);
	struct call *call;

	if (!none || bpf_map_update_elem(&calls, &thread, none, BPF_ANY)) {
		count(SEEN);
		count(MISSED);
		return 0;
	}
	call = bpf_map_lookup_elem(&calls, &thread);
	if (call)
		call->command = command;
	return call;
}

// Returns whether the result is the descriptor of a new object.
static __always_inline bool makes(__u32 command)
{
	return command == BPF_PROG_LOAD || command == BPF_MAP_CREATE || command == BPF_LINK_CREATE ||
	       command == BPF_RAW_TRACEPOINT_OPEN;
}

// Notes the object that the call made, or otherwise the one that it named.
static __always_inline void note_made(struct call *call, long result)
{
	__s32 descriptor = result >= 0 && makes(call->command) ? result : call->event.descriptor;

	if (descriptor >= 0)
		note_descriptor(&call->event, descriptor);
}

// The kernel has copied the arguments of bpf(2), and checks permission. Called even if no LSM "bpf" is active.
SEC("fentry/security_bpf")
int BPF_PROG(call_begun, int command, union bpf_attr *attributes, unsigned int size)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	struct call *call;
	bool is_inner;

	if (!is_told(command) && command != BPF_PROG_TEST_RUN)
		return 0;
	call = bpf_map_lookup_elem(&calls, &thread);
	is_inner = call && call->command == BPF_PROG_TEST_RUN;
	if (!is_inner)
		call = begin(command);
	if (!call || !is_told(command))
		return 0;
	__builtin_memset(&call->event, 0, sizeof(call->event));
	note_caller(&call->event);
	note_task(&call->event);
	note_request(&call->event, command, attributes, true);
	// Read it before the call, which may end the object.
	if (call->event.descriptor >= 0)
		note_descriptor(&call->event, call->event.descriptor);
	// Called by a program of type "syscall" that the process runs: no hook sees its end.
	if (is_inner) {
		call->event.result = RESULT_UNKNOWN;
		tell(&call->event);
	}
	return 0;
}

// The system call ends. The loader sets the function of this architecture.
SEC("fexit/__x64_sys_bpf")
int BPF_PROG(call_ended, const void *registers, long result)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);

	if (!call)
		return 0;
	if (is_told(call->command)) {
		call->event.result = result;
		if (result >= 0 && makes(call->command))
			note_descriptor(&call->event, result);
		tell(&call->event);
	}
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

// Format of /sys/kernel/tracing/events/syscalls/sys_enter_bpf/format and sys_exit_bpf/format.
struct system_call {
	__u64 common;
	__u64 number;
	union {
		__u64 command;
		__s64 result;
	};
	__u64 attributes;
	__u64 size;
};

// For kernels without trampolines or without BTF. The arguments are in the process's memory, which may change.
SEC("tracepoint/syscalls/sys_enter_bpf")
int traced_begun(struct system_call *context)
{
	__u32 command = context->command;
	struct call *call;

	if (!is_told(command))
		return 0;
	call = begin(command);
	if (!call)
		return 0;
	call->attributes = context->attributes;
	note_caller(&call->event);
	return 0;
}

static __always_inline struct call *traced(long result)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);

	if (!call)
		return 0;
	// The kernel has read the arguments, so that they are in memory.
	note_request(&call->event, call->command, (union bpf_attr *)call->attributes, false);
	call->event.result = result;
	return call;
}

static __always_inline void tell_call(struct call *call)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid();

	tell(&call->event);
	bpf_map_delete_elem(&calls, &thread);
}

SEC("tracepoint/syscalls/sys_exit_bpf")
int traced_ended(struct system_call *context)
{
	struct call *call = traced(context->result);

	if (call)
		tell_call(call);
	return 0;
}

// The same for a kernel with BTF, by which descriptors are looked up.
SEC("tracepoint/syscalls/sys_exit_bpf")
int traced_ended_typed(struct system_call *context)
{
	struct call *call = traced(context->result);

	if (!call)
		return 0;
	note_task(&call->event);
	note_made(call, context->result);
	tell_call(call);
	return 0;
}

// Changes without bpf(2).

// XDP by netlink. A descriptor of -1 removes the attached program.
SEC("fexit/dev_change_xdp_fd")
int BPF_PROG(xdp_by_netlink, struct net_device *device, void *acknowledgement, int descriptor, int expected,
	     unsigned int flags, int result)
{
	struct event event = {};

	note_caller(&event);
	note_task(&event);
	event.kind = XDP_BY_NETLINK;
	event.result = result;
	event.target = BPF_CORE_READ(device, ifindex);
	event.netns = BPF_CORE_READ(device, nd_net.net, ns.inum);
	event.descriptor = descriptor;
	note_descriptor(&event, descriptor);
	tell(&event);
	return 0;
}

// setsockopt(SO_ATTACH_BPF).
SEC("fexit/sk_attach_bpf")
int BPF_PROG(socket_program, unsigned int descriptor, void *socket, int result)
{
	struct event event = {};

	note_caller(&event);
	note_task(&event);
	event.kind = SOCKET;
	event.result = result;
	event.descriptor = descriptor;
	note_descriptor(&event, descriptor);
	tell(&event);
	return 0;
}

// A pin is removed. The first half of `path` gets the name of the pin's folder, the second half the pin's name.
SEC("fexit/security_inode_unlink")
int BPF_PROG(unlinked, struct inode *folder, struct dentry *entry, int result)
{
	struct event event = {};
	const unsigned char *name;

	if (BPF_CORE_READ(folder, i_sb, s_magic) != BPF_FS_MAGIC)
		return 0;
	note_caller(&event);
	note_task(&event);
	event.kind = UNLINK;
	event.result = result;
	name = BPF_CORE_READ(entry, d_parent, d_name.name);
	bpf_probe_read_kernel_str(event.path, PATH_LENGTH / 2, name);
	name = BPF_CORE_READ(entry, d_name.name);
	bpf_probe_read_kernel_str(event.path + PATH_LENGTH / 2, PATH_LENGTH / 2, name);
	tell(&event);
	return 0;
}

// A request to make, change or remove a traffic control filter: struct nlmsghdr, struct tcmsg, then attributes.
struct filter_request {
	__u32 length;
	__u16 type;
	__u16 flags;
	__u32 sequence;
	__u32 port;
	__u8 family;
	__u8 unused[3];
	__s32 interface;
	__u32 handle;
	__u32 parent;
	__u32 info;	// priority << 16 | protocol
};

struct attribute {
	__u16 length;
	__u16 type;
	char text[4];
};

#define TCA_KIND 1
#define KINDS 4

// Returns true for a filter of kind "bpf", and for one without a kind.
static __always_inline bool is_bpf_filter(void *request, __u32 length)
{
	__u32 place = sizeof(struct filter_request);
	int number;

#pragma unroll
	for (number = 0; number < KINDS; number++) {
		struct attribute attribute = {};

		if (place + sizeof(attribute) > length)
			return true;
		bpf_probe_read_kernel(&attribute, sizeof(attribute), request + place);
		if (attribute.type == TCA_KIND)
			return attribute.text[0] == 'b' && attribute.text[1] == 'p' && attribute.text[2] == 'f';
		place += (attribute.length + 3) & ~3;
	}
	return true;
}

static __always_inline int tell_filter(void *request, __u32 kind, int result)
{
	struct filter_request asked = {};
	struct event event = {};

	bpf_probe_read_kernel(&asked, sizeof(asked), request);
	if (!is_bpf_filter(request, asked.length))
		return 0;
	note_caller(&event);
	note_task(&event);
	event.kind = kind;
	event.result = result;
	event.target = asked.interface;
	event.attach_type = asked.parent;
	tell(&event);
	return 0;
}

SEC("fexit/tc_new_tfilter")
int BPF_PROG(filter, void *message, void *request, void *acknowledgement, int result)
{
	return tell_filter(request, TC_FILTER, result);
}

SEC("fexit/tc_del_tfilter")
int BPF_PROG(filter_gone, void *message, void *request, void *acknowledgement, int result)
{
	return tell_filter(request, TC_FILTER_GONE, result);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
