#!/usr/bin/env bash
# what: a bitfield after an unnamed one that fills its unit is at another place in bpftool's skeleton than in the object
#
# Expected: the structures of a skeleton have a "memory layout corresponding to global data section layout" (bpftool-gen(8)),
#     so that user space and program see the same variable; the skeleton asserts it.
# Is: reserved bits without a name are not in BTF. Where they end with their unit of storage, bpftool prints no padding for
#     them, and a compiler puts the bitfield that follows into the gap: `mark` below is byte 4 for the BPF program and byte
#     1 for the user of the skeleton, who reads 0. The skeleton's assertions are about sizes, which are equal, so it
#     compiles. `bpftool btf dump ... format c` prints the same. Reserved bits that end within the unit are printed, and
#     reserved bits with a name are right anywhere.
# Versions: bpftool 7.5.0 with libbpf 1.5 (Debian 13), bpftool 7.8.0 with libbpf 1.8, clang 23.1.4-2 (Debian sid)
# Seen: 2026-12-01
. "$(dirname "$0")/lib.sh"

stable_tools
old=$root
newest_tools
# FILE RESERVED
compile() {
    cat > "$root/work/$1.c" << C
struct { unsigned char protocol; unsigned int $2; unsigned int mark : 8; unsigned long bytes; } flow;
__attribute__((section("socket"), used)) int one(void *packet) { flow.mark = 7; return 0; }
char LICENSE[] __attribute__((section("license"))) = "GPL";
C
    inside "$root" clang-23 -target bpf -O2 -g -c "$1.c" -o "$1.o"
    cp "$root/work/$1.o" "$old/work/"
}
compile filled ': 24'
compile within ': 16'
compile named 'reserved : 24'
version() { inside "$1" bpftool version | sed -n 's/^using //p'; }
versions "$(version "$old"), $(version "$root"), clang $(inside "$root" clang-23 -dumpversion)"

# OBJECT: the bit of `mark` in its type information, and the size of its structure.
place() { inside "$root" bpftool btf dump file "$1" | sed -n "s/.*STRUCT '(anon)' \(size=[0-9]*\).*/\1/p;s/.*'mark' .*\(bits_offset=[0-9]*\).*/\1/p"; }
# ROOT FILE: the same of the skeleton's structure, which it prints, compiled.
skeleton() {
    inside "$1" bpftool gen skeleton "$2.o" > "$work/$2.h" 2> "$work/log"
    sed -n "/struct $2__bss {/,/^\t}/p" "$work/$2.h" | sed '$s/.*/} bss;/' | tee "$root/work/skeleton.c"
    inside "$root" clang-23 -target bpf -g -c skeleton.c -o skeleton.o
    place skeleton.o
}
show place filled.o
fact "the object has mark at bit 32 of 16 bytes" eval 'output_has "size=16" && output_has "bits_offset=32$"'
for tool in "$old" "$root"; do
    name=$(version "$tool")
    show skeleton "$tool" filled
    fact "$name: the skeleton has it at bit 8 of 16 bytes" eval 'output_has "size=16" && output_has "bits_offset=8$"'
    assertions() { grep '_Static_assert(.*flow' "$work/filled.h"; }
    show assertions
    fact "$name: it asserts the size" output_has 'sizeof.* == 16'
    show skeleton "$tool" within
    fact "$name: within the unit it has mark where the object has it, at bit 24" output_has 'bits_offset=24$'
    show skeleton "$tool" named
    fact "$name: after named bits it has mark at bit 32" output_has 'bits_offset=32$'
done
finish
