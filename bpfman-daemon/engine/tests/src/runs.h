// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// How often each program of an object ran, by a slot of its own.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

/* Every program reads it: a map that no loaded program uses may be left out of a load. */
const volatile __u64 step = 1;

static __always_inline void count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&runs, &slot);

	if (value)
		__sync_fetch_and_add(value, step);
}
