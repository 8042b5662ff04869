// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Tests whether a kernel accepts programs of this type.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#ifdef __TARGET_ARCH_arm64
#define ENTERED "__arm64_sys_getpriority"
#else
#define ENTERED "__x64_sys_getpriority"
#endif

SEC("fexit/" ENTERED)
int sample(void *ctx)
{
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
