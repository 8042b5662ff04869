// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// One program of every type that watches. Each counts, in a place of its own, what one process does.
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

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

SEC("kprobe/__x64_sys_getpriority")
int on_kprobe(void *ctx)
{
    return count(1);
}

SEC("kretprobe/__x64_sys_getpriority")
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

SEC("fentry/__x64_sys_getpriority")
int on_fentry(void *ctx)
{
    return count(5);
}

SEC("fexit/__x64_sys_getpriority")
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
