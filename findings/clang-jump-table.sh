#!/usr/bin/env bash
# what: clang 23 with -mcpu=v4 makes a jump table of a switch, which libbpf 1.5 does not open
#
# Expected: -mcpu=v4 chooses instructions of Linux 6.6; a loader that is newer than them opens the object.
# Is: clang 23 also takes v4 as leave to use a jump of Linux 6.19 with a table: a dense switch becomes `gotox` and the
#     section .jumptables. libbpf 1.5 of Debian 13 refuses the object (relocation to a symbol that no source has),
#     and its linker too. libbpf 1.8 opens and links it. A switch with few cases is compiled as before, so one more
#     case decides. -fno-jump-tables, or -mcpu=v3, gives an object that both open.
# Versions: clang 23.1.4-2 (Debian sid), bpftool 7.5.0 with libbpf 1.5 (Debian 13), bpftool 7.8.0 with libbpf 1.8 (sid)
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"

stable_tools
old=$root
newest_tools
# CASES FILE FLAG...: a switch of so many cases.
compile() {
    {
        echo 'int result; volatile int seed;'
        echo '__attribute__((section("socket"), used)) int one(unsigned *packet) { switch (*packet) {'
        # Other code in each case: else a table of values would do.
        for number in $(seq 0 $(($1 - 1))); do
            case $((number % 3)) in 0) sign=+ ;; 1) sign=- ;; 2) sign=^ ;; esac
            echo "case $number: seed $sign= $((7 * number + 3)); result = seed * $((number + 11)); break;"
        done
        echo 'default: result = 1; } return 0; }'
        echo 'char LICENSE[] __attribute__((section("license"))) = "GPL";'
    } > "$root/work/one.c"
    inside "$root" clang-23 -target bpf -O2 -g "${@:3}" -c one.c -o "$2"
    cp "$root/work/$2" "$old/work/$2"
}
version() { inside "$1" bpftool version | sed -n 's/^using //p'; }
compile 4 few.o -mcpu=v4
compile 24 many.o -mcpu=v4
compile 24 plain.o -mcpu=v4 -fno-jump-tables
versions "clang $(inside "$root" clang-23 -dumpversion), $(version "$old"), $(version "$root")"

sections() { inside "$root" llvm-readelf-23 --sections --wide "$1" | grep PROGBITS; }
show sections few.o
fact "4 cases make no table" output_lacks jumptables
show sections many.o
fact "24 cases make the section .jumptables" output_has jumptables
# FOLDER FILE: opens an object as a loader does.
opened() { inside "$1" bpftool gen skeleton "$2" 2>&1 > "$work/skeleton" || return; echo "opened"; }
show opened "$old" many.o
fact "libbpf 1.5 does not open it" output_has 'BPF\.JT\.'
show inside "$old" bpftool gen object linked.o many.o
fact "the linker of libbpf 1.5 does not take it" failed
show opened "$root" many.o
fact "libbpf 1.8 opens it" output_has '^opened$'
show opened "$old" plain.o
fact "libbpf 1.5 opens it without a table" output_has '^opened$'
finish
