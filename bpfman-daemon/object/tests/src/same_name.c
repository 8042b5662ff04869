// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that is compiled twice, with different SECTION and LINKAGE, and linked with itself: two have one name.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC(SECTION)
LINKAGE int twin(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
