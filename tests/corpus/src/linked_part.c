#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int part_count = 300;
extern int whole_count;
static volatile int part_hidden = 4000;
__noinline int part_adds(int value) { return value + whole_count + part_hidden; }
