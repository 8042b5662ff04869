#!/usr/bin/env bash
# what: gcc-bpf 16 does not compile the vmlinux.h that its own distribution ships
#
# Expected: a compiler for BPF compiles the kernel's types as bpftool prints them: Debian has them in linux-bpf-dev.
# Is: GCC takes C23 by default since version 15, where bool, true and false are keywords. vmlinux.h defines all three, as
#     the kernel does (it is compiled as C11), and every program that includes it fails. -std=gnu17 helps. clang 23
#     takes C17 by default, and compiles it.
# Versions: gcc-bpf 16.2.0-3+2, clang 23.1.4-2, linux-bpf-dev 7.2.13-1 (Debian sid)
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"

newest_tools
header=$(find "$root/usr/include" -name vmlinux.h | head -1)
[ -n "$header" ] || cannot "linux-bpf-dev has no vmlinux.h"
folder=/$(realpath --relative-to "$root" "$(dirname "$header")")
cat > "$root/work/one.c" << 'C'
#include "vmlinux.h"
__attribute__((section("socket"), used)) int one(struct __sk_buff *packet) { return packet->len; }
char LICENSE[] __attribute__((section("license"))) = "GPL";
C
versions "gcc-bpf $(inside "$root" bpf-gcc -dumpfullversion), clang $(inside "$root" clang-23 -dumpversion)"

errors() { if inside "$root" "$@" > "$work/log" 2>&1; then echo "no error"; else grep error: "$work/log"; fi; }
show errors bpf-gcc -O2 -g "-I$folder" -c one.c -o one.o
fact "gcc-bpf refuses the header because of bool and false" output_has "'bool'.*typedef"
show errors bpf-gcc -std=gnu17 -O2 -g "-I$folder" -c one.c -o one.o
fact "with -std=gnu17 gcc-bpf compiles it" output_has '^no error$'
show errors clang-23 -target bpf -O2 -g "-I$folder" -c one.c -o one.o
fact "clang compiles it by default" output_has '^no error$'
finish
