// Loads an object by libbpf, and prints what the kernel reports about the programs.
//
//   judge load [-r] OBJECT     loads each program by itself; a line of JSON each
//   judge together [-r] OBJECT loads all of them at once
//   judge id [-r] ID           a program that another process loaded
//   judge version              libbpf's
//
// With -r, each program that can run by itself is run once, and its return value printed. The caller must own them.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A libbpf built for glibc 2.38 and later calls these; older ones have the same functions by their plain names.
#if defined(__GLIBC__) && __GLIBC__ == 2 && __GLIBC_MINOR__ < 38
int __isoc23_sscanf(const char *text, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	int found = vsscanf(text, format, list);
	va_end(list);
	return found;
}
int __isoc23_fscanf(FILE *file, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	int found = vfscanf(file, format, list);
	va_end(list);
	return found;
}
unsigned long long __isoc23_strtoull(const char *text, char **end, int base) { return strtoull(text, end, base); }
unsigned long __isoc23_strtoul(const char *text, char **end, int base) { return strtoul(text, end, base); }
long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
#endif

static char said[1 << 16];

static int keep(enum libbpf_print_level level, const char *format, va_list list)
{
	size_t used = strlen(said);
	if (level == LIBBPF_WARN && used < sizeof(said) - 1)
		vsnprintf(said + used, sizeof(said) - used, format, list);
	return 0;
}

static void print_text(const char *name, const char *text)
{
	printf("\"%s\":\"", name);
	for (; *text; text++) {
		unsigned char c = *text;
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

// Runs a program on an empty IPv4 packet, or on the input that its type needs. Returns false if the kernel does not
// run programs of this type by themselves.
static bool run(int fd, __u32 type, unsigned int *returned, int *error)
{
	unsigned char packet[64] = { [12] = 0x08, [14] = 0x45 };
	LIBBPF_OPTS(bpf_test_run_opts, options);

	switch (type) {
	case BPF_PROG_TYPE_SCHED_CLS:
	case BPF_PROG_TYPE_SCHED_ACT:
	case BPF_PROG_TYPE_SOCKET_FILTER:
	case BPF_PROG_TYPE_CGROUP_SKB:
	case BPF_PROG_TYPE_XDP:
		options.data_in = packet;
		options.data_size_in = sizeof(packet);
		break;
	case BPF_PROG_TYPE_SYSCALL:
	case BPF_PROG_TYPE_RAW_TRACEPOINT:
		break;
	default:
		return false;
	}
	*error = bpf_prog_test_run_opts(fd, &options) ? errno : 0;
	*returned = options.retval;
	return true;
}

// Prints `"tag": …, "type": …` and the return value.
static void describe(int fd, bool runs)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	unsigned int returned = 0;
	int error = 0;

	if (bpf_prog_get_info_by_fd(fd, &info, &size)) {
		perror("judge: BPF_OBJ_GET_INFO_BY_FD");
		exit(1);
	}
	printf("\"tag\":\"");
	for (size_t at = 0; at < sizeof(info.tag); at++)
		printf("%02x", info.tag[at]);
	printf("\",\"type\":%u", info.type);
	if (runs && run(fd, info.type, &returned, &error)) {
		if (error)
			printf(",\"errno\":%d", error);
		else
			printf(",\"returned\":%u", returned);
	}
}

// Returns the names of all programs, before anything is loaded.
static size_t names(const char *path, char (**out)[256])
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	size_t count = 0;

	if (!object)
		return 0;
	*out = NULL;
	bpf_object__for_each_program(program, object) {
		*out = realloc(*out, (count + 1) * sizeof(**out));
		snprintf((*out)[count++], sizeof(**out), "%s", bpf_program__name(program));
	}
	bpf_object__close(object);
	return count;
}

// Extensions replace a function of the object's first other program, which is loaded before, by itself.
static int load_extended(const char *path, struct bpf_object **object)
{
	struct bpf_program *program, *extended = NULL;

	*object = bpf_object__open_file(path, NULL);
	if (!*object)
		return -1;
	bpf_object__for_each_program(program, *object) {
		bool is_it = !extended && bpf_program__type(program) != BPF_PROG_TYPE_EXT;
		bpf_program__set_autoload(program, is_it);
		if (is_it)
			extended = program;
	}
	return extended && !bpf_object__load(*object) ? bpf_program__fd(extended) : -1;
}

static int load(const char *path, bool runs, bool together)
{
	char(*all)[256] = NULL;
	size_t count = names(path, &all);

	if (!count) {
		printf("{\"program\":\"\",\"loaded\":false,");
		print_text("said", said[0] ? said : "no program");
		printf("}\n");
	}
	for (size_t at = 0; at < count; at++) {
		struct bpf_object *object, *extended = NULL;
		struct bpf_program *program;
		struct bpf_map *map;
		int failed;

		said[0] = 0;
		object = bpf_object__open_file(path, NULL);
		if (!object)
			return 1;
		bpf_object__for_each_program(program, object)
			bpf_program__set_autoload(program, together || !strcmp(bpf_program__name(program), all[at]));
		// Load all programs of a struct_ops map: libbpf loads them by the map, and the kernel refuses the map
		// without the others.
		bpf_object__for_each_map(map, object)
			if (bpf_map__type(map) == BPF_MAP_TYPE_STRUCT_OPS)
				bpf_object__for_each_program(program, object)
					if (bpf_program__type(program) == BPF_PROG_TYPE_STRUCT_OPS)
						bpf_program__set_autoload(program, true);
		program = bpf_object__find_program_by_name(object, all[at]);
		if (bpf_program__type(program) == BPF_PROG_TYPE_EXT)
			bpf_program__set_attach_target(program, load_extended(path, &extended), NULL);
		failed = bpf_object__load(object);
		printf("{");
		print_text("program", all[at]);
		putchar(',');
		print_text("section", bpf_program__section_name(program));
		printf(",\"loaded\":%s,", failed ? "false" : "true");
		if (failed)
			print_text("said", said);
		else
			describe(bpf_program__fd(program), runs);
		printf("}\n");
		bpf_object__close(object);
		bpf_object__close(extended);
	}
	free(all);
	return 0;
}

int main(int argc, char **argv)
{
	bool runs = argc > 2 && !strcmp(argv[2], "-r");
	const char *last = argv[argc - 1];

	libbpf_set_print(keep);
	if (argc == 2 && !strcmp(argv[1], "version")) {
		printf("%s\n", libbpf_version_string());
		return 0;
	}
	if (argc == 3 + runs && !strcmp(argv[1], "load"))
		return load(last, runs, false);
	if (argc == 3 + runs && !strcmp(argv[1], "together"))
		return load(last, runs, true);
	if (argc == 3 + runs && !strcmp(argv[1], "id")) {
		int fd = bpf_prog_get_fd_by_id(atoi(last));
		if (fd < 0) {
			perror("judge: BPF_PROG_GET_FD_BY_ID");
			return 1;
		}
		putchar('{');
		describe(fd, runs);
		printf("}\n");
		return 0;
	}
	fprintf(stderr, "usage: judge load|together [-r] OBJECT | id [-r] ID | version\n");
	return 2;
}
