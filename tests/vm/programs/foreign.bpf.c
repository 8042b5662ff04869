// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// A third-party filter that bpfman must never touch. Loaded by `tc`.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("classifier") int foreign(struct __sk_buff *ctx) { return -1; }

char LICENSE[] SEC("license") = "Dual BSD/GPL";
