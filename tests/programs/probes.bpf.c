// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// One program of each tracing type. Each counts the actions of one process at an index of its own.
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#ifdef __TARGET_ARCH_arm64
#define ENTERED "__arm64_sys_getpriority"
#else
#define ENTERED "__x64_sys_getpriority"
#endif

const volatile __u32 only_process = 0;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u64);
} fired SEC(".maps");

static __always_inline int count(__u32 place)
{
    __u64 *counter;

    if (only_process && bpf_get_current_pid_tgid() >> 32 != only_process)
        return 0;
    counter = bpf_map_lookup_elem(&fired, &place);
    if (counter)
        __sync_fetch_and_add(counter, 1);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpriority")
int on_tracepoint(void *ctx)
{
    return count(0);
}

SEC("kprobe/" ENTERED)
int on_kprobe(void *ctx)
{
    return count(1);
}

SEC("kretprobe/" ENTERED)
int on_kretprobe(void *ctx)
{
    return count(2);
}

SEC("uprobe")
int on_uprobe(void *ctx)
{
    return count(3);
}

SEC("uretprobe")
int on_uretprobe(void *ctx)
{
    return count(4);
}

SEC("fentry/" ENTERED)
int on_fentry(void *ctx)
{
    return count(5);
}

SEC("fexit/" ENTERED)
int on_fexit(void *ctx)
{
    return count(6);
}

SEC("lsm/file_open")
int on_lsm(void *ctx)
{
    return count(7);
}

char LICENSE[] SEC("license") = "GPL";
