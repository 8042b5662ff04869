// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A static program of a name that another source uses as well: compiled as SECTION, and linked with itself.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC(SECTION)
LINKAGE int twin(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
