// Races of a command against `bpfman run-as`: calls are made while something changes their arguments or objects.
// raw_attacks NAME ROUNDS prints how many calls were answered rightly, wrongly, and with an error. A wrong answer is an
// object that the grant does not allow, a write to memory that the call does not name, or an unrequested descriptor. The
// first wrong answers about objects are described on standard error.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum answer { RIGHT, WRONG, REFUSED };

#define PAGE 4096
#define MAX_MEMORY (1 << 20)
#define CANARY 0xa5

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
	union bpf_attr create = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1};

	return bpf(BPF_MAP_CREATE, &create);
}

static void load_of(union bpf_attr *of, const struct bpf_insn *text, int count)
{
	memset(of, 0, sizeof *of);
	of->prog_type = BPF_PROG_TYPE_XDP;
	of->insn_cnt = count;
	of->insns = (uintptr_t)text;
	of->license = (uintptr_t)"GPL";
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
		if (!prepare(attack))
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
		puts(attacks[at].name);
	return argc > 1 ? 4 : 0;
}
