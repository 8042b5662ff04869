// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("uprobe")
int on_probed(void *ctx)
{
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
