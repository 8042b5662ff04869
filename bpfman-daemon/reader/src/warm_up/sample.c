/* Source of sample.elf:
 * clang -g -O2 -target bpf -fdebug-compilation-dir=/ -c sample.c -o sample.elf && llvm-strip -g sample.elf */
#define SEC(name) __attribute__((section(name), used))

struct {
    int (*type)[6];
    int *key;
    long *value;
    int (*max_entries)[1];
} counts SEC(".maps");

static void *(*const lookup)(void *map, const void *key) = (void *)1;

SEC("tcx/ingress")
int sample(void *packet)
{
    int key = 0;
    long *count = lookup(&counts, &key);
    if (count)
        (*count)++;
    return -1;
}

char licence[] SEC("license") = "GPL";
