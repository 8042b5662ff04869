// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Tests whether a kernel accepts programs of this type.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("lsm/file_open")
int sample(void *ctx)
{
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
