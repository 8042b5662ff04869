// feature: variables that lie in arenas
// since: 6.9
// clang: 19
// flags: -mcpu=v4
#include "corpus.h"

#define __arena __attribute__((address_space(1)))
struct {
	__uint(type, 33 /* BPF_MAP_TYPE_ARENA */);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 10);
} arena SEC(".maps");
extern void __arena *bpf_arena_alloc_pages(void *map, void __arena *address, unsigned int count, int node, unsigned long flags) __ksym;
int __arena counter;
long __arena first = 40;
SEC("syscall") int allocates(void *ctx)
{
	int __arena *page = bpf_arena_alloc_pages(&arena, 0, 1, -1, 0);
	if (!page)
		return 1;
	*page = 4;
	counter += 3;
	return *page + counter + first;
}
