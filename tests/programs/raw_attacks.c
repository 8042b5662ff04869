// Races of a command against `bpfman run-as`: calls are made while something changes their arguments or objects.
// raw_attacks NAME ROUNDS [PROCESS] prints how many calls were answered rightly, wrongly, and with an error. A wrong answer is an
// object that the grant does not allow, a write to memory that the call does not name, or an unrequested descriptor. The
// first wrong answers about objects are described on standard error.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_link.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum answer { RIGHT, WRONG, REFUSED };

#define PAGE 4096
#define MAX_MEMORY (1 << 20)
#define CANARY 0xa5
// Name of all objects that are made, by which a test sees whether one is left.
#define NAME "raw_attack"

static const struct bpf_insn good[3] = {{.code = 0xb7, .imm = 1}, {.code = 0x07, .imm = 1}, {.code = 0x95}};
// bpf_redirect, which a grant with hooks does not have
static const struct bpf_insn bad[3] = {{.code = 0xb7, .dst_reg = 1, .imm = 1}, {.code = 0x85, .imm = 23}, {.code = 0x95}};

static union bpf_attr attr;
static volatile uint8_t *shared;
static struct bpf_insn *code;
static volatile int stop;
static int own_map, own_program, own_file;
static uint32_t own_map_id, own_program_id;

static int bpf_of(int command, union bpf_attr *of, unsigned size)
{
	return syscall(SYS_bpf, command, of, size);
}

static int bpf(int command, union bpf_attr *of)
{
	return bpf_of(command, of, sizeof *of);
}

static int create_map(void)
{
	union bpf_attr create = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1, .map_name = NAME,
	};

	return bpf(BPF_MAP_CREATE, &create);
}

static void load_of(union bpf_attr *of, const struct bpf_insn *text, int count)
{
	memset(of, 0, sizeof *of);
	of->prog_type = BPF_PROG_TYPE_XDP;
	of->insn_cnt = count;
	of->insns = (uintptr_t)text;
	of->license = (uintptr_t)"GPL";
	strcpy(of->prog_name, NAME);
}

static int describe_into(int object, void *info, unsigned size)
{
	union bpf_attr of = {.info = {.bpf_fd = object, .info_len = size, .info = (uintptr_t)info}};
	int result;

	do
		result = bpf(BPF_OBJ_GET_INFO_BY_FD, &of);
	while (result && errno == EINTR);
	return result;
}

static int describe(int object, void *info, unsigned size)
{
	memset(info, 0, size);
	return describe_into(object, info, size);
}

static bool report(const char *format, ...)
{
	static int reported;
	va_list arguments;

	if (reported++ < 10) {
		va_start(arguments, format);
		vfprintf(stderr, format, arguments);
		va_end(arguments);
		fputc('\n', stderr);
	}
	return false;
}

static bool report_failure(int object)
{
	return report("descriptor %d cannot be described: %s", object, strerror(errno));
}

// A copy of text that changes meanwhile can mix both texts, also within an instruction. The grant allows each mixture
// that calls nothing.
static bool is_granted_program(int program)
{
	struct bpf_insn text[3] = {0};
	struct bpf_prog_info info = {.xlated_prog_len = sizeof text, .xlated_prog_insns = (uintptr_t)text};

	if (describe_into(program, &info, sizeof info))
		return report_failure(program);
	if (info.type != BPF_PROG_TYPE_XDP || info.xlated_prog_len != sizeof text)
		return report("a program of type %u has %u bytes", info.type, info.xlated_prog_len);
	for (unsigned i = 0; i < 3; i++)
		if (text[i].code == (BPF_JMP | BPF_CALL))
			return report("a program calls %d", text[i].imm);
	return true;
}

static bool is_own_map(int map)
{
	struct bpf_map_info info;

	if (describe(map, &info, sizeof info))
		return report_failure(map);
	return info.id == own_map_id || report("map %u instead of %u", info.id, own_map_id);
}

static enum answer judge(int object, bool (*is_right)(int))
{
	enum answer answer;

	if (object < 0)
		return REFUSED;
	answer = is_right(object) ? RIGHT : WRONG;
	close(object);
	return answer;
}

static uint32_t random_number(void)
{
	static __thread uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state >> 16;
}

// A helper call changes between one that every grant allows and one that this grant does not.
static void change_code(unsigned i)
{
	memcpy(code, i & 1 ? bad : good, sizeof good);
}

static enum answer load_code(unsigned i)
{
	(void)i;
	load_of(&attr, code, 3);
	return judge(bpf(BPF_PROG_LOAD, &attr), is_granted_program);
}

// The memory of the instructions is unmapped and mapped again.
static void remap_code(unsigned i)
{
	if (i & 1)
		munmap(code, PAGE);
	else if (mmap(code, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == code)
		memcpy(code, good, sizeof good);
}

static void protect_code(unsigned i)
{
	mprotect(code, PAGE, i & 1 ? PROT_NONE : PROT_READ | PROT_WRITE);
}

// Another process of the same user changes the call's arguments, in shared memory.
static enum answer load_shared(unsigned i)
{
	struct bpf_insn *text = (void *)(shared + 512);
	union bpf_attr *of = (void *)shared;

	(void)i;
	load_of(of, text, 3);
	return judge(bpf(BPF_PROG_LOAD, of), is_granted_program);
}

static void change_shared(void)
{
	for (unsigned i = 0; !shared[PAGE - 1]; i++) {
		memcpy((void *)(shared + 512), i & 1 ? bad : good, sizeof good);
		*(volatile uint32_t *)shared = i & 2 ? BPF_PROG_TYPE_XDP : BPF_PROG_TYPE_SCHED_CLS;
	}
}

// The size of a map changes between one that the grant's memory allows and a thousand times as much.
static void change_size(unsigned i)
{
	*(volatile uint32_t *)&attr.max_entries = i & 1 ? 1 << 20 : 16;
	*(volatile uint32_t *)&attr.value_size = i & 2 ? 2048 : 8;
	*(volatile uint32_t *)&attr.map_type = i & 4 ? BPF_MAP_TYPE_HASH : BPF_MAP_TYPE_ARRAY;
}

static bool is_small_map(int map)
{
	struct bpf_map_info info;

	if (describe(map, &info, sizeof info))
		return report_failure(map);
	return (uint64_t)info.max_entries * info.value_size <= MAX_MEMORY ||
	       report("%u values of %u bytes", info.max_entries, info.value_size);
}

static enum answer create_changing(unsigned i)
{
	(void)i;
	attr.key_size = 4;
	return judge(bpf(BPF_MAP_CREATE, &attr), is_small_map);
}

// The map's descriptor in the instructions becomes that of another object.
static void change_descriptor(unsigned i)
{
	static const int *others[] = {&own_program, &own_file, &own_map};

	dup2(*others[i % 3], 100);
}

static enum answer load_with_map(unsigned i)
{
	struct bpf_insn text[] = {
		{.code = 0x18, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = 100}, {0},
		{.code = 0xb7, .imm = 2}, {.code = 0x95},
	};
	struct bpf_prog_info info = {0};
	uint32_t id = 0;
	union bpf_attr of;
	int program;

	(void)i;
	load_of(&of, text, 4);
	program = bpf(BPF_PROG_LOAD, &of);
	if (program < 0)
		return REFUSED;
	info.nr_map_ids = 1;
	info.map_ids = (uintptr_t)&id;
	of = (union bpf_attr){.info = {.bpf_fd = program, .info_len = sizeof info, .info = (uintptr_t)&info}};
	bpf(BPF_OBJ_GET_INFO_BY_FD, &of);
	close(program);
	return info.nr_map_ids == 1 && id == own_map_id ? RIGHT : WRONG;
}

static enum answer describe_changing(unsigned i)
{
	struct bpf_map_info info;

	(void)i;
	if (describe(100, &info, sizeof info))
		return REFUSED;
	return info.id == own_map_id || info.id == own_program_id ? RIGHT : WRONG;
}

// Opens objects of others by their ids, over the whole range.
static enum answer by_id(int command, unsigned i, const uint32_t *own)
{
	union bpf_attr of = {.map_id = i & 1 ? random_number() % 4096 : i & 2 ? random_number() : *own};
	bool is_own = of.map_id == *own;
	int object = bpf(command, &of);

	if (object < 0)
		return REFUSED;
	close(object);
	return is_own ? RIGHT : WRONG;
}

static enum answer map_by_id(unsigned i)
{
	return by_id(BPF_MAP_GET_FD_BY_ID, i, &own_map_id);
}

static enum answer program_by_id(unsigned i)
{
	return by_id(BPF_PROG_GET_FD_BY_ID, i, &own_program_id);
}

static enum answer next_ids(unsigned i)
{
	union bpf_attr of = {.start_id = i & 1 ? random_number() : random_number() % 4096};
	const uint32_t *own = i & 2 ? &own_map_id : &own_program_id;

	if (bpf(i & 2 ? BPF_MAP_GET_NEXT_ID : BPF_PROG_GET_NEXT_ID, &of))
		return REFUSED;
	return of.next_id == *own ? RIGHT : WRONG;
}

// The address for the answer changes; memory behind the buffer must not change.
static void change_answer(unsigned i)
{
	static const uint64_t places[] = {0, 0xffff888000000000u, 0x7ffffffff000u};

	*(volatile uint64_t *)&attr.info.info = i & 1 ? (uintptr_t)shared : places[i / 2 % 3];
	*(volatile uint32_t *)&attr.info.info_len = i & 4 ? 64 : i & 8 ? 0xffffffff : 80;
}

static bool has_canaries(unsigned from)
{
	for (unsigned at = from; at < PAGE; at++)
		if (shared[at] != CANARY)
			return false;
	return true;
}

static enum answer answer_into(unsigned i)
{
	int result;

	(void)i;
	attr.info.bpf_fd = own_map;
	result = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
	if (!has_canaries(256))
		return WRONG;
	return result ? REFUSED : RIGHT;
}

static void change_log(unsigned i)
{
	static const uint32_t sizes[] = {0, 128, 1 << 20, 1 << 30, 0xffffffff};

	*(volatile uint32_t *)&attr.log_size = sizes[i % 5];
	*(volatile uint64_t *)&attr.log_buf = i & 1 ? (uintptr_t)shared : 0;
	*(volatile uint32_t *)&attr.log_level = i & 7;
}

static enum answer load_with_log(unsigned i)
{
	static const struct bpf_insn refused[2] = {{.code = 0xbf, .src_reg = 5}, {.code = 0x95}};
	int program;

	load_of(&attr, i & 1 ? good : refused, i & 1 ? 3 : 2);
	program = bpf(BPF_PROG_LOAD, &attr);
	if (program < 0)
		return has_canaries(1024) ? REFUSED : WRONG;
	return has_canaries(1024) ? judge(program, is_granted_program) : WRONG;
}

static void change_run(unsigned i)
{
	*(volatile uint32_t *)&attr.test.data_size_in = i & 1 ? 64 : 0xffffff00;
	*(volatile uint32_t *)&attr.test.data_size_out = i & 2 ? 64 : 0x7fffffff;
	*(volatile uint32_t *)&attr.test.repeat = i & 4 ? 1 : 1000;
	*(volatile uint64_t *)&attr.test.data_out = i & 8 ? (uintptr_t)shared : 0xffff888000000000u;
}

static enum answer run_changing(unsigned i)
{
	static const uint8_t packet[64];
	int result;

	(void)i;
	attr.test.prog_fd = own_program;
	attr.test.data_in = (uintptr_t)packet;
	result = bpf(BPF_PROG_TEST_RUN, &attr);
	if (!has_canaries(64))
		return WRONG;
	return result ? REFUSED : RIGHT;
}

// The path of a pin changes between the session's own bpffs and places outside of it.
static char path[64];

static void change_path(unsigned i)
{
	static const char *paths[] = {"/sys/fs/bpf/pin", "/run/bpfman/fs/pin", "/sys/fs/bpf/../pin", "/tmp/bpfman-attack-pin"};

	strcpy(path, paths[i % 4]);
}

static enum answer pin_changing(unsigned i)
{
	union bpf_attr of = {.pathname = (uintptr_t)path, .bpf_fd = own_map};
	int result = bpf(BPF_OBJ_PIN, &of);

	(void)i;
	if (!access("/tmp/bpfman-attack-pin", F_OK) || !access("/sys/fs/pin", F_OK))
		return WRONG;
	return unlink("/sys/fs/bpf/pin") || result ? REFUSED : RIGHT;
}

// A folder in the path is replaced by a symbolic link.
static void change_folder(unsigned i)
{
	static const char *targets[] = {"/", "/run", "/proc/1/root", "here"};

	unlink("/sys/fs/bpf/way");
	if (symlink(targets[i % 4], "/sys/fs/bpf/way"))
		errno = 0;
}

static enum answer get_through(unsigned i)
{
	static const char *paths[] = {"/sys/fs/bpf/way/pin", "/sys/fs/bpf/way/bpfman/fs/pin", "/sys/fs/bpf/here/pin"};
	union bpf_attr of = {.pathname = (uintptr_t)paths[i % 3]};

	return judge(bpf(BPF_OBJ_GET, &of), is_own_map);
}

// Attributes of odd sizes, with trailing bytes that this kernel does not know.
static enum answer odd_sizes(unsigned i)
{
	static uint8_t bytes[2 * PAGE];
	unsigned size = random_number() % sizeof bytes;
	bool has_unknown = i & 1;
	int map;

	memset(bytes, 0, sizeof bytes);
	memcpy(bytes, (uint32_t[]){BPF_MAP_TYPE_ARRAY, 4, 8, 1}, 16);
	if (has_unknown && size > 512)
		bytes[512 + random_number() % (size - 512)] = 1;
	map = bpf_of(BPF_MAP_CREATE, (union bpf_attr *)bytes, size);
	if (map < 0)
		return REFUSED;
	close(map);
	return has_unknown && size > 512 ? WRONG : RIGHT;
}

static enum answer any_command(unsigned i)
{
	union bpf_attr of;
	int result;

	(void)i;
	for (unsigned at = 0; at < sizeof of / 4; at++)
		((uint32_t *)&of)[at] = random_number() % 3 ? 0 : random_number() % 200;
	result = bpf_of(random_number() % 64, &of, random_number() % (sizeof of + 1));
	if (result > 100)
		close(result);
	return result < 0 ? REFUSED : RIGHT;
}

static void ignore(int number)
{
	(void)number;
}

static enum answer interrupted(unsigned i)
{
	(void)i;
	return judge(create_map(), is_small_map);
}

// The receiver is stopped and continued while it serves a call, with pauses so that it can serve at all.
static void stop_receiver(unsigned i)
{
	kill(getppid(), i & 1 ? SIGCONT : SIGSTOP);
	usleep(random_number() % 2000);
}

// A child is killed in the middle of a call.
static enum answer killed_child(unsigned i)
{
	pid_t child = fork();

	(void)i;
	if (!child) {
		for (;;)
			create_map();
	}
	usleep(random_number() % 400);
	kill(child, SIGKILL);
	return waitpid(child, NULL, 0) == child ? RIGHT : WRONG;
}

static void *create_for_ever(void *unused)
{
	while (!unused)
		close(create_map());
	return NULL;
}

// The process calls execve while another thread is in a call.
static enum answer executed(unsigned i)
{
	pid_t child = fork();
	int status;

	(void)i;
	if (!child) {
		pthread_t thread;

		if (!pthread_create(&thread, NULL, create_for_ever, NULL)) {
			usleep(random_number() % 300);
			execl("/bin/true", "true", NULL);
		}
		_exit(1);
	}
	return waitpid(child, &status, 0) == child && !status ? RIGHT : WRONG;
}

// The process has no free descriptor.
static enum answer without_descriptors(unsigned i)
{
	int map = create_map();

	(void)i;
	if (map >= 0)
		close(map);
	return map >= 0 ? WRONG : errno == EMFILE ? RIGHT : REFUSED;
}

// The name of a tracepoint changes between one that the grant has and another.
static char tracepoint[16];

static void change_tracepoint(unsigned i)
{
	strcpy(tracepoint, i & 1 ? "sys_exit" : "sys_enter");
}

static bool is_granted_tracepoint(int link)
{
	char found[16] = "";
	struct bpf_link_info info = {.raw_tracepoint = {.tp_name = (uintptr_t)found, .tp_name_len = sizeof found}};

	if (describe_into(link, &info, sizeof info))
		return report_failure(link);
	return !strcmp(found, "sys_enter") || report("a link to %s", found);
}

static enum answer open_tracepoint(unsigned i)
{
	union bpf_attr of = {.raw_tracepoint = {.name = (uintptr_t)tracepoint, .prog_fd = own_program}};

	(void)i;
	return judge(bpf(BPF_RAW_TRACEPOINT_OPEN, &of), is_granted_tracepoint);
}

// The number of an event changes between calls of getpriority, which the grant has, and of getppid.
static struct perf_event_attr event = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof event};
static uint64_t granted_event, other_event;

static void change_event(unsigned i)
{
	*(volatile uint64_t *)&event.config = i & 1 ? other_event : granted_event;
}

static enum answer open_event(unsigned i)
{
	int opened = syscall(SYS_perf_event_open, &event, 0, -1, -1, 0);
	uint64_t count = 0;
	bool is_read;

	(void)i;
	if (opened < 0)
		return REFUSED;
	syscall(SYS_getppid);
	is_read = read(opened, &count, sizeof count) == sizeof count;
	close(opened);
	return is_read && !count ? RIGHT : WRONG;
}

static uint64_t event_number(const char *name)
{
	unsigned long number = 0;
	char file[128];
	FILE *opened;

	snprintf(file, sizeof file, "/sys/kernel/tracing/events/syscalls/%s/id", name);
	opened = fopen(file, "r");
	if (!opened || fscanf(opened, "%lu", &number) != 1)
		number = 0;
	if (opened)
		fclose(opened);
	return number;
}

// The interface and the kind of a link change. The grant has XDP at lo.
static unsigned other_interface;

static void change_interface(unsigned i)
{
	*(volatile uint32_t *)&attr.link_create.target_ifindex = i & 1 ? other_interface : 1;
	*(volatile uint32_t *)&attr.link_create.attach_type = i & 2 ? 46 /* BPF_TCX_INGRESS */ : BPF_XDP;
}

static bool is_xdp_at_lo(int link)
{
	struct bpf_link_info info;

	if (describe(link, &info, sizeof info))
		return report_failure(link);
	return (info.type == BPF_LINK_TYPE_XDP && info.xdp.ifindex == 1) ||
	       report("a link of type %u to interface %u", info.type, info.xdp.ifindex);
}

static enum answer link_changing(unsigned i)
{
	(void)i;
	attr.link_create.prog_fd = own_program;
	attr.link_create.flags = XDP_FLAGS_SKB_MODE;
	return judge(bpf(BPF_LINK_CREATE, &attr), is_xdp_at_lo);
}

// A netlink message changes its interface, and whether it is a question or attaches a program.
static struct route_request {
	struct nlmsghdr header;
	struct ifinfomsg link;
	struct nlattr xdp, descriptor;
	int program;
	struct nlattr flags;
	uint32_t mode;
} request = {
	.header = {sizeof request, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0},
	.link = {.ifi_index = 1},
	.xdp = {20, IFLA_XDP | NLA_F_NESTED},
	.descriptor = {8, IFLA_XDP_FD},
	.flags = {8, IFLA_XDP_FLAGS},
	.mode = XDP_FLAGS_SKB_MODE,
};
static int route;

static void change_message(unsigned i)
{
	*(volatile int *)&request.link.ifi_index = i & 1 ? (int)other_interface : 1;
	*(volatile uint16_t *)&request.header.nlmsg_type = i & 2 ? RTM_GETLINK : RTM_SETLINK;
}

// Receives all answers, and returns the error of the last one that has one.
static int received(int from, char *answer, unsigned size)
{
	int length, error = 0;

	while ((length = recv(from, answer, size, MSG_DONTWAIT)) >= (int)sizeof(struct nlmsghdr)) {
		struct nlmsghdr *header = (void *)answer;

		if (header->nlmsg_type == NLMSG_ERROR)
			error = ((struct nlmsgerr *)NLMSG_DATA(header))->error;
	}
	return error;
}

// Returns whether a program is attached to the other interface, by the kernel's own answer.
static bool is_attached_to_other(void)
{
	static int asks = -1;
	struct route_request question = {
		.header = {NLMSG_LENGTH(sizeof question.link), RTM_GETLINK, NLM_F_REQUEST, 2, 0},
		.link = {.ifi_index = other_interface},
	};
	char answer[16384];
	int length;

	if (asks < 0)
		asks = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (send(asks, &question, question.header.nlmsg_len, 0) < 0)
		return !report("the other interface cannot be looked at: %s", strerror(errno));
	length = recv(asks, answer, sizeof answer, 0);
	for (int at = NLMSG_LENGTH(sizeof(struct ifinfomsg)); at + 4 <= length;) {
		struct nlattr *part = (void *)(answer + at);

		if ((part->nla_type & NLA_TYPE_MASK) == IFLA_XDP)
			return answer[at + 8] != XDP_ATTACHED_NONE;
		at += NLA_ALIGN(part->nla_len);
	}
	return !report("the kernel does not say what is attached: %d", length);
}

static enum answer send_changing(unsigned i)
{
	char answer[16384];
	bool is_sent;

	request.program = own_program;
	is_sent = send(route, &request, sizeof request, 0) >= 0;
	if (received(route, answer, sizeof answer) || !is_sent)
		is_sent = false;
	return i % 16 == 0 && is_attached_to_other() ? WRONG : is_sent ? RIGHT : REFUSED;
}

// The message is sent by io_uring, which no filter of system calls sees.
static struct {
	int number;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *results;
	unsigned *tail, *head, *places;
} ring;

static bool open_ring(void)
{
	struct io_uring_params of = {0};
	int access = PROT_READ | PROT_WRITE;
	char *sent, *done;

	ring.number = syscall(SYS_io_uring_setup, 1, &of);
	if (ring.number < 0)
		return false;
	sent = mmap(NULL, PAGE, access, MAP_SHARED, ring.number, IORING_OFF_SQ_RING);
	done = mmap(NULL, PAGE, access, MAP_SHARED, ring.number, IORING_OFF_CQ_RING);
	ring.entries = mmap(NULL, PAGE, access, MAP_SHARED, ring.number, IORING_OFF_SQES);
	if (sent == MAP_FAILED || done == MAP_FAILED || ring.entries == MAP_FAILED)
		return false;
	ring.tail = (void *)(sent + of.sq_off.tail);
	ring.places = (void *)(sent + of.sq_off.array);
	ring.head = (void *)(done + of.cq_off.head);
	ring.results = (void *)(done + of.cq_off.cqes);
	return true;
}

static enum answer send_by_ring(unsigned i)
{
	char answer[16384];
	int result;

	request.program = own_program;
	request.link.ifi_index = i & 1 ? other_interface : 1;
	ring.entries[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_SEND, .fd = route, .addr = (uintptr_t)&request, .len = sizeof request,
	};
	ring.places[0] = 0;
	__atomic_store_n(ring.tail, *ring.tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring.number, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return report("io_uring_enter: %s", strerror(errno)) ? RIGHT : WRONG;
	// The ring has two slots for results.
	result = ring.results[*ring.head & 1].res;
	__atomic_store_n(ring.head, *ring.head + 1, __ATOMIC_RELEASE);
	return result < 0 || received(route, answer, sizeof answer) ? REFUSED : WRONG;
}

// The calling thread has a table of descriptors of its own, in which number 100 never changes.
static enum answer describe_own_table(unsigned i)
{
	struct bpf_map_info info;

	if (!i && (unshare(CLONE_FILES) || dup2(own_map, 100) < 0))
		return WRONG;
	if (describe(100, &info, sizeof info))
		return REFUSED;
	return info.id == own_map_id ? RIGHT : WRONG;
}

static enum answer listen_again(unsigned i)
{
	struct sock_filter allow = {.code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW};
	struct sock_fprog filter = {1, &allow};

	(void)i;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter) >= 0)
		return WRONG;
	return errno == EBUSY ? RIGHT : REFUSED;
}

// Memory and descriptors of the receiver, whose user is the same.
static pid_t receiver;

static enum answer reach_receiver(unsigned i)
{
	char place[64], byte;
	struct iovec here = {&byte, 1}, there = {&byte, 1};
	int process, result = -1;

	switch (i % 5) {
	case 0:
		result = ptrace(PTRACE_ATTACH, receiver, NULL, NULL);
		break;
	case 1:
		result = process_vm_readv(receiver, &here, 1, &there, 1, 0);
		break;
	case 2:
		process = syscall(SYS_pidfd_open, receiver, 0);
		result = syscall(SYS_pidfd_getfd, process, random_number() % 32, 0);
		int error = errno;
		close(process);
		errno = error;
		break;
	default:
		snprintf(place, sizeof place, i % 5 == 3 ? "/proc/%d/mem" : "/proc/%d/fd/%d", receiver, random_number() % 32);
		result = open(place, O_RDWR);
	}
	return result < 0 && (errno == EPERM || errno == EACCES) ? REFUSED : WRONG;
}

#ifdef __x86_64__
static enum answer of_32_bits(unsigned i)
{
	// Numbers of bpf and perf_event_open for i386.
	long result = i & 1 ? 357 : 336;

	memset(&attr, 0, 116);
	memcpy(&attr, (uint32_t[]){BPF_MAP_TYPE_ARRAY, 4, 8, 1}, 16);
	memcpy((void *)shared, &attr, 116);
	__asm__ volatile("int $0x80" : "+a"(result) : "b"(0), "c"((uint32_t)(uintptr_t)shared), "d"(116) : "memory");
	return result >= 0 ? WRONG : REFUSED;
}
#endif

static const struct attack {
	const char *name;
	void (*change)(unsigned);
	enum answer (*call)(unsigned);
} attacks[] = {
	{"code", change_code, load_code}, {"unmapped", remap_code, load_code}, {"protected", protect_code, load_code},
	{"shared", NULL, load_shared}, {"size", change_size, create_changing},
	{"map-descriptor", change_descriptor, load_with_map}, {"descriptor", change_descriptor, describe_changing},
	{"map-ids", NULL, map_by_id}, {"program-ids", NULL, program_by_id}, {"next-ids", NULL, next_ids},
	{"answer", change_answer, answer_into}, {"log", change_log, load_with_log}, {"run", change_run, run_changing},
	{"path", change_path, pin_changing}, {"folder", change_folder, get_through}, {"odd-size", NULL, odd_sizes},
	{"commands", NULL, any_command}, {"signals", NULL, interrupted},
	{"stops", stop_receiver, interrupted}, {"kills", NULL, killed_child}, {"exec", NULL, executed}, {"full-table", NULL, without_descriptors},
	{"tracepoint", change_tracepoint, open_tracepoint}, {"event", change_event, open_event},
	{"interface", change_interface, link_changing}, {"netlink", change_message, send_changing},
	{"io_uring", NULL, send_by_ring}, {"table", change_descriptor, describe_own_table},
	{"second-listener", NULL, listen_again}, {"receiver", NULL, reach_receiver},
#ifdef __x86_64__
	{"32-bit", NULL, of_32_bits},
#endif
};

static void *change_always(void *attack)
{
	for (unsigned i = 0; !stop; i++) {
		((const struct attack *)attack)->change(i);
		__asm__ volatile("" ::: "memory");
	}
	return NULL;
}

static bool prepare(const struct attack *attack)
{
	struct bpf_prog_info program;
	struct bpf_map_info map;
	union bpf_attr of;

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || code == MAP_FAILED)
		return false;
	memcpy(code, good, sizeof good);
	load_of(&of, good, 3);
	if (attack->call == open_tracepoint || attack->call == open_event)
		of.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
	own_program = bpf(BPF_PROG_LOAD, &of);
	own_map = create_map();
	own_file = open("/dev/null", O_RDWR);
	if (own_program < 0 || own_map < 0 || describe(own_program, &program, sizeof program) ||
	    describe(own_map, &map, sizeof map))
		return false;
	own_program_id = program.id;
	own_map_id = map.id;
	if (attack->change == change_answer || attack->change == change_log || attack->change == change_run)
		memset((void *)shared, CANARY, PAGE);
	if (attack->call == get_through) {
		union bpf_attr pin = {.pathname = (uintptr_t)"/sys/fs/bpf/here/pin", .bpf_fd = own_map};

		return !mkdir("/sys/fs/bpf/here", 0700) && !bpf(BPF_OBJ_PIN, &pin);
	}
	if (!strcmp(attack->name, "signals")) {
		struct sigaction handler = {.sa_handler = ignore};
		struct itimerval often = {{0, 150}, {0, 150}};

		return !sigaction(SIGALRM, &handler, NULL) && !setitimer(ITIMER_REAL, &often, NULL);
	}
	if (attack->call == open_event) {
		granted_event = event_number("sys_enter_getpriority");
		other_event = event_number("sys_enter_getppid");
		return granted_event && other_event;
	}
	if (attack->call == link_changing || attack->call == send_changing || attack->call == send_by_ring) {
		char name[IF_NAMESIZE];

		for (other_interface = 2; !if_indextoname(other_interface, name) && other_interface < 1000;)
			other_interface++;
		route = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
		return other_interface < 1000 && route >= 0 && (attack->call != send_by_ring || open_ring());
	}
	if (attack->call == without_descriptors) {
		struct rlimit few = {64, 64};

		if (setrlimit(RLIMIT_NOFILE, &few))
			return false;
		while (dup(own_file) >= 0)
			;
	}
	return true;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	unsigned rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 1000, counts[3] = {0};

	for (unsigned at = 0; at < sizeof attacks / sizeof *attacks; at++) {
		const struct attack *attack = &attacks[at];
		pthread_t thread;
		pid_t child = 0;

		if (strcmp(attack->name, name))
			continue;
		receiver = argc > 3 ? atoi(argv[3]) : getppid();
		if (attack->call != reach_receiver && !prepare(attack))
			return 2;
		if (attack->change && pthread_create(&thread, NULL, change_always, (void *)attack))
			return 3;
		if (attack->call == load_shared && !(child = fork())) {
			change_shared();
			_exit(0);
		}
		for (unsigned i = 0; i < rounds; i++)
			counts[attack->call(i)]++;
		stop = 1;
		if (attack->change)
			pthread_join(thread, NULL);
		if (child) {
			shared[PAGE - 1] = 1;
			waitpid(child, NULL, 0);
		}
		printf("%u %u %u\n", counts[RIGHT], counts[WRONG], counts[REFUSED]);
		return 0;
	}
	for (unsigned at = 0; at < sizeof attacks / sizeof *attacks; at++)
		if (attacks[at].call != send_by_ring || open_ring())
			puts(attacks[at].name);
	return argc > 1 ? 4 : 0;
}
