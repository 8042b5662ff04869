// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Ten counting programs merged by hand: the optimum that a chain is compared with.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAP(name)                                        \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
		__uint(max_entries, 1);                  \
		__type(key, __u32);                      \
		__type(value, __u64);                    \
	} name SEC(".maps")

MAP(count0);
MAP(count1);
MAP(count2);
MAP(count3);
MAP(count4);
MAP(count5);
MAP(count6);
MAP(count7);
MAP(count8);
MAP(count9);

#define ADD_ONE(map)                                                  \
	do {                                                          \
		__u32 key = 0;                                        \
		__u64 *value = bpf_map_lookup_elem(&map, &key);       \
		if (value)                                            \
			*value += 1;                                  \
	} while (0)

SEC("xdp")
int merged(struct xdp_md *ctx)
{
	ADD_ONE(count0);
	ADD_ONE(count1);
	ADD_ONE(count2);
	ADD_ONE(count3);
	ADD_ONE(count4);
	ADD_ONE(count5);
	ADD_ONE(count6);
	ADD_ONE(count7);
	ADD_ONE(count8);
	ADD_ONE(count9);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
