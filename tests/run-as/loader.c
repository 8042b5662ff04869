// An ordinary loader on libbpf: attaches XDP at an interface and a tracepoint, and reports whether executions were seen.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

static struct bpf_program *named(struct bpf_object *object, const char *name) {
    return bpf_object__find_program_by_name(object, name);
}

int main(int count, char **words) {
    struct bpf_object *object = count > 2 ? bpf_object__open(words[1]) : NULL;
    if (!object || bpf_object__load(object)) return 1;
    if (!bpf_program__attach(named(object, "execs"))) return 2;
    if (!bpf_program__attach_xdp(named(object, "packets"), if_nametoindex(words[2]))) return 3;
    for (int i = 0; i < 3; i++)
        if (system("/bin/true")) return 4;
    unsigned key = 1;
    unsigned long long value = 0;
    if (bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, "counts"), &key, &value)) return 5;
    printf("executions were seen: %s\n", value >= 3 ? "true" : "false");
    return 0;
}
