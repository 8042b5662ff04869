// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// A program that stores a large value for each socket whose packets it sees.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct large {
    __u8 bytes[4096];
};

struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct large);
} of_socket SEC(".maps");

SEC("tc")
int keeps_of_sockets(struct __sk_buff *skb)
{
    struct bpf_sock *socket = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;

    if (socket)
        bpf_sk_storage_get(&of_socket, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);
    return TC_ACT_OK;
}

// Does not use the map, but user space can add entries to it.
SEC("tc")
int keeps_nothing(struct __sk_buff *skb)
{
    return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
