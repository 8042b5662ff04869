// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Asks for an option that no kernel is built with.
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

extern bool CONFIG_NO_SUCH_OPTION __kconfig;

SEC("uprobe")
int probe(void *ctx)
{
	return CONFIG_NO_SUCH_OPTION;
}

char _license[] SEC("license") = "GPL";
