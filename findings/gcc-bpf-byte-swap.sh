#!/usr/bin/env bash
# what: __builtin_bswap32 by gcc-bpf is a call that no loader resolves (12), or an instruction of Linux 6.6 (14, 16)
#
# Expected: swapping bytes, which bpf_htonl does, is one of BPF's first instructions, and every compiler uses it.
# Is: GCC 12 calls a function __bswapsi2 that no library provides, so libbpf refuses the object. GCC 14 and 16 compile for
#     version 4 of the instructions by default and use its `bswap` (opcode d7), so the object opens and Linux 6.1, the
#     kernel of Debian 12, refuses it (seen there: "unknown opcode d7"). With -mcpu=v3 they use the old
#     instruction (opcode dc), as clang does by default in all of its versions.
# Versions: gcc-bpf 12.2.0-14 (Debian 12), 14.2.0-19 (Debian 13), 16.2.0-3 (Debian sid), clang 23.1.4-2, Linux 6.1.0-56
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"

debian bookworm gcc-bpf bpftool
twelve=$root
stable_tools
fourteen=$root
newest_tools
newest=$root
for place in "$twelve" "$fourteen" "$newest"; do
    cat > "$place/work/one.c" << 'C'
struct packet { unsigned int length, type, mark; };
__attribute__((section("socket"), used)) int one(struct packet *packet) { return __builtin_bswap32(packet->mark); }
char LICENSE[] __attribute__((section("license"))) = "GPL";
C
done
versions "gcc-bpf $(for place in "$twelve" "$fourteen" "$newest"; do inside "$place" bpf-gcc -dumpfullversion; done | paste -sd ' '), clang $(inside "$newest" clang-23 -dumpversion)"

# ROOT COMPILER FLAG...: the instructions, disassembled by one tool.
instructions() {
    inside "$1" "${@:2}" -O2 -g -c one.c -o one.o || return
    [ "$1" = "$newest" ] || cp "$1/work/one.o" "$newest/work/one.o"
    inside "$newest" llvm-objdump-23 --mcpu=v4 -d one.o | grep -E '^ +[0-9a-f]+:'
}
# ROOT: opens an object as a loader does.
opened() { inside "$1" bpftool gen skeleton one.o 2>&1 > "$work/skeleton" || return; echo opened; }

echo "GCC 12:"
show instructions "$twelve" bpf-gcc
fact "GCC 12 calls a function" output_has 'call -0x1'
show opened "$twelve"
fact "libbpf does not open its object" output_has '__bswapsi2'
echo "GCC 14:"
show instructions "$fourteen" bpf-gcc
fact "GCC 14 uses the instruction of Linux 6.6" output_has ':\s+d7 '
show opened "$fourteen"
fact "libbpf opens its object" output_has '^opened$'
show instructions "$fourteen" bpf-gcc -mcpu=v3
fact "with -mcpu=v3 it uses the old one" output_has ':\s+dc '
echo "GCC 16:"
show instructions "$newest" bpf-gcc
fact "GCC 16 uses the instruction of Linux 6.6" output_has ':\s+d7 '
echo "clang:"
show instructions "$newest" clang-23 -target bpf
fact "clang uses the old one" output_has ':\s+dc '
finish
