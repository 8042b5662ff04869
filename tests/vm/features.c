// SPDX-License-Identifier: Apache-2.0
//
// Tries every program of features.bpf.o on the running kernel, loads and attaches it, and prints one line each:
// name, tab, "yes" or where and why not. Run by `features` in a network namespace with the interface probe0.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Newer than Debian 12's libbpf.
#define TCX_INGRESS 46

enum way {
	BY_SECTION, // libbpf knows how from the section's name
	XDP_NATIVE,
	XDP_GENERIC,
	CLSACT,
	TCX,
	OWN_FUNCTION, // user-space probe on this process
	OWN_FUNCTION_RETURN,
	REPLACE,
	LOAD_ONLY,
	TEST_RUN,
};

static const struct {
	const char *feature, *program;
	enum way way;
} features[] = {
	{"XDP, native on veth", "try_xdp", XDP_NATIVE},
	{"XDP, generic", "try_xdp", XDP_GENERIC},
	{"XDP with fragments", "try_xdp_frags", XDP_NATIVE},
	{"XDP test run", "try_xdp", TEST_RUN},
	{"tc by clsact", "try_tc", CLSACT},
	{"tcx link", "try_tc", TCX},
	{"tc test run", "try_tc", TEST_RUN},
	{"tracepoint", "try_tracepoint", BY_SECTION},
	{"raw tracepoint", "try_raw_tracepoint", BY_SECTION},
	{"BTF tracepoint", "try_tp_btf", BY_SECTION},
	{"kprobe", "try_kprobe", BY_SECTION},
	{"kretprobe", "try_kretprobe", BY_SECTION},
	{"kprobe, many at once", "try_kprobe_multi", BY_SECTION},
	{"uprobe", "try_uprobe", OWN_FUNCTION},
	{"uretprobe", "try_uretprobe", OWN_FUNCTION_RETURN},
	{"fentry", "try_fentry", BY_SECTION},
	{"fexit", "try_fexit", BY_SECTION},
	{"LSM", "try_lsm", BY_SECTION},
	{"freplace (type EXT)", "try_freplace", REPLACE},
	{"iterator over programs", "try_iterator", BY_SECTION},
	{"ring buffer", "try_ring_buffer", BY_SECTION},
	{"bpf_loop", "try_loop_helper", LOAD_ONLY},
};

static const char *object_path;

__attribute__((noinline)) void probed(void) { __asm__ volatile(""); }

static struct bpf_object *open_with(const char *name, struct bpf_program **wanted)
{
	struct bpf_object *object = bpf_object__open_file(object_path, NULL);
	struct bpf_program *program;

	if (!object)
		return NULL;
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, strcmp(bpf_program__name(program), name) == 0);
	*wanted = bpf_object__find_program_by_name(object, name);
	return object;
}

static long offset_in_file(const void *address)
{
	unsigned long start, end, offset, wanted = (unsigned long)address;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %*s %lx", &start, &end, &offset) == 3 && start <= wanted && wanted < end) {
			fclose(maps);
			return wanted - start + offset;
		}
	return -1;
}

static int test_run(int fd)
{
	char packet[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet), .repeat = 1);

	return bpf_prog_test_run_opts(fd, &options);
}

static int attach(struct bpf_program *program, enum way way)
{
	int fd = bpf_program__fd(program), interface = if_nametoindex("probe0");
	struct bpf_link *link = NULL;

	switch (way) {
	case LOAD_ONLY:
		return 0;
	case TEST_RUN:
		return test_run(fd);
	case XDP_NATIVE:
	case XDP_GENERIC: {
		__u32 flags = way == XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
		int error = bpf_xdp_attach(interface, fd, flags, NULL);

		return error ? error : bpf_xdp_detach(interface, flags, NULL);
	}
	case CLSACT: {
		LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = interface, .attach_point = BPF_TC_INGRESS);
		LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = fd);
		int error = bpf_tc_hook_create(&hook);

		return error ? error : bpf_tc_attach(&hook, &options);
	}
	case TCX: {
		int link_fd = bpf_link_create(fd, interface, TCX_INGRESS, NULL);

		return link_fd < 0 ? link_fd : close(link_fd);
	}
	case OWN_FUNCTION:
	case OWN_FUNCTION_RETURN:
		link = bpf_program__attach_uprobe(program, way == OWN_FUNCTION_RETURN, 0, "/proc/self/exe",
						  offset_in_file(probed));
		break;
	default:
		link = bpf_program__attach(program);
	}
	return link ? bpf_link__destroy(link) : -errno;
}

static void report(const char *feature, const char *stage, int error)
{
	if (error)
		printf("%s\tno: %s: %s\n", feature, stage, strerror(-error));
	else
		printf("%s\tyes\n", feature);
}

static void try(const char *feature, const char *name, enum way way)
{
	struct bpf_program *program, *target_program = NULL;
	struct bpf_object *target = NULL, *object = open_with(name, &program);
	const char *stage = "load";
	int error = object ? 0 : -errno;

	if (!error && way == REPLACE) {
		target = open_with("try_xdp", &target_program);
		error = target ? bpf_object__load(target) : -errno;
		if (!error)
			error = bpf_program__set_attach_target(program, bpf_program__fd(target_program), "replaceable");
	}
	if (!error)
		error = bpf_object__load(object);
	if (!error) {
		stage = way == TEST_RUN ? "run" : "attach";
		error = attach(program, way);
	}
	report(feature, stage, error);
	bpf_object__close(object);
	bpf_object__close(target);
}

static bool among(const char *feature, char **wanted)
{
	for (; *wanted; wanted++)
		if (strcmp(feature, *wanted) == 0)
			return true;
	return false;
}

static int silent(enum libbpf_print_level level, const char *format, va_list arguments) { return 0; }

int main(int count, char **arguments)
{
	if (count < 2) {
		fprintf(stderr, "usage: features OBJECT [FEATURE]...\n");
		return 2;
	}
	object_path = arguments[1];
	libbpf_set_print(silent);
	for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++)
		if (count == 2 || among(features[i].feature, arguments + 2))
			try(features[i].feature, features[i].program, features[i].way);
	return 0;
}
