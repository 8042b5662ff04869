/* Counts dropped packets by the kernel's reason. Source of kfree_skb.elf:
 * clang -g -O2 -target bpf -fdebug-compilation-dir=/ -c kfree_skb.c -o kfree_skb.elf && llvm-strip -g kfree_skb.elf */
#define SEC(name) __attribute__((section(name), used))

struct {
    int (*type)[5];
    unsigned int *key;
    unsigned long long *value;
    int (*max_entries)[1024];
} reasons SEC(".maps");

static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const update)(void *map, const void *key, const void *value, unsigned long long flags) = (void *)2;

/* The third argument is the reason. Delivered packets are freed by consume_skb, not here. */
SEC("tp_btf/kfree_skb")
int drop_reasons(unsigned long long *arguments)
{
    unsigned int reason = arguments[2];
    unsigned long long *count = lookup(&reasons, &reason), one = 1;
    if (count)
        (*count)++;
    else
        update(&reasons, &reason, &one, 0);
    return 0;
}

char licence[] SEC("license") = "GPL";
