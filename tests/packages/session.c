// A command under `bpfman run-as` during an upgrade of the package: it counts executions, and makes a map after each.
//
//   session OBJECT END      runs until the file END exists; prints executions, missed ones, and failed calls
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **words) {
    struct bpf_object *object = count > 2 ? bpf_object__open(words[1]) : NULL;
    if (!object || bpf_object__load(object)) return 1;
    if (!bpf_program__attach(bpf_object__find_program_by_name(object, "execs"))) return 2;
    unsigned long long executions = 0, seen = 0, failed = 0;
    while (access(words[2], F_OK)) {
        if (system("true")) return 3;
        executions++;
        int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "upgrade", 4, 8, 1, NULL);
        if (map < 0) failed++;
        else close(map);
        usleep(10000);
    }
    unsigned key = 1;
    if (bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(object, "counts"), &key, &seen)) return 4;
    printf("%llu %llu %llu\n", executions, seen < executions ? executions - seen : 0, failed);
    return 0;
}
