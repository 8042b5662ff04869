// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Reads a structure in its layout at compile time; moved_kernel.c has its layout at run time.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sample {
	unsigned int widened;
	int widened_signed;
	struct {
		unsigned int lifted;
	};
	unsigned int sunk;
	int list[4];
	void *pointer;
	int became_pointer;
	int gone;
	unsigned int bits : 5;
};
struct twice {
	int same;
	int moved;
};
#pragma clang attribute pop

enum level {
	LOW = 3,
	HIGH = 7,
};

SEC("kprobe") int widened(struct sample *ctx) { return ctx->widened; }
SEC("kprobe") int widened_signed(struct sample *ctx) { return ctx->widened_signed; }
SEC("kprobe") int lifted(struct sample *ctx) { return ctx->lifted; }
SEC("kprobe") int sunk(struct sample *ctx) { return ctx->sunk; }
SEC("kprobe") int list_first(struct sample *ctx) { return ctx->list[1]; }
SEC("kprobe") int list_last(struct sample *ctx) { return ctx->list[3]; }
SEC("kprobe") int pointer(struct sample *ctx) { return ctx->pointer != 0; }
SEC("kprobe") int became_pointer(struct sample *ctx) { return ctx->became_pointer; }
SEC("kprobe") int gone(struct sample *ctx) { return ctx->gone; }
SEC("kprobe") int gone_exists(struct sample *ctx) { return bpf_core_field_exists(ctx->gone); }
SEC("kprobe") int bits(struct sample *ctx) { return BPF_CORE_READ_BITFIELD(ctx, bits); }
SEC("kprobe") int second(struct sample *ctx) { return ctx[2].sunk; }
SEC("kprobe") int same(struct twice *ctx) { return ctx->same; }
SEC("kprobe") int moved(struct twice *ctx) { return ctx->moved; }
SEC("kprobe") int high(void *ctx) { return bpf_core_enum_value(enum level, HIGH); }
SEC("kprobe") int size(void *ctx) { return bpf_core_type_size(struct sample); }

char _license[] SEC("license") = "GPL";
