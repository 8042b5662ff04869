// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Kinds of type information that old kernels do not know.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum sign {
	BELOW = -1,
	ABOVE = 1,
};

struct tagged {
	int __attribute__((btf_type_tag("counter"))) *pointer;
	double number;
	enum sign sign;
} __attribute__((btf_decl_tag("kept")));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tagged);
} values SEC(".maps");

__attribute__((noinline)) int function(int (*argument)) __attribute__((btf_decl_tag("declared")));

volatile enum sign sign = BELOW;

SEC("tc")
int read(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct tagged *found = bpf_map_lookup_elem(&values, &key);

	return found && found->sign == BELOW ? sign : 0;
}

char _license[] SEC("license") = "GPL";
