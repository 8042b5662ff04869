#!/usr/bin/env bash
# what: compilers drop members of vmlinux.h of Linux 7, filename->name among them, unless they get -fms-extensions
#
# Expected: vmlinux.h, as bpftool prints it, has all fields of the kernel's structures; bpftool's manual page names no flag of
#     the compiler.
# Is: since 6.19 the kernel is compiled with -fms-extensions, and has structures within others that have a name as a type
#     and none as a member. bpftool prints them as they are: `struct __filename_head;`. Without the flag this declares
#     nothing: clang and GCC warn, and leave the members out. A program that reads filename->name, as many of those for
#     opened and deleted files do, is refused; one that copies or embeds such a structure compiles, with too small a size.
#     With -fms-extensions both are right; clang then wants -Wno-microsoft-anon-tag to be silent.
# Versions: linux-bpf-dev 7.2.13-1, clang 23.1.4-2, gcc-bpf 16.2.0-3+2, bpftool 7.8.0 (Debian sid), types of Linux 6.12.117 (Debian
#     13) and 7.3.4+deb13 (backports)
# Seen: 2026-12-01
. "$(dirname "$0")/lib.sh"

kernel_6
kernel_7
newest_tools
versions "linux-bpf-dev $(package_version "$root" linux-bpf-dev), Linux $release, clang $(inside "$root" clang-23 -dumpversion), gcc-bpf $(inside "$root" bpf-gcc -dumpfullversion)"
mkdir "$root"/work/{packaged,6,7}
cp "$(find "$root/usr/include" -name vmlinux.h | head -1)" "$root/work/packaged/" || cannot "linux-bpf-dev has no vmlinux.h"
# NUMBER SUITE: the header of a kernel, and the size of struct filename in its type information to `size`.
header() {
    cp "$work/$2" "$root/work/kernel"
    inside "$root" bpftool btf dump file kernel format c > "$root/work/$1/vmlinux.h"
    size=$(inside "$root" bpftool btf dump file kernel | sed -n "s/.* STRUCT 'filename' size=\([0-9]*\) .*/\1/p")
}
header 6 trixie
six=$size
header 7 trixie-backports
echo '#include "vmlinux.h"
int one(struct filename *file) { return file->name != 0; }' > "$root/work/name.c"
echo '#include "vmlinux.h"
_Static_assert(sizeof(struct filename) == SIZE, "another size");' > "$root/work/size.c"

show sed -n '/^struct filename {/,/^}/p' "$root/work/7/vmlinux.h"
fact "bpftool 7.8 prints a member of Linux 7 without a name" output_has '^\s+struct __filename_head;$'
errors() { if inside "$root" "$@" > "$work/log" 2>&1; then echo "no error"; else grep error: "$work/log"; fi; }
for compiler in "clang-23 -target bpf" "bpf-gcc -std=gnu17"; do
    read -ra command <<< "$compiler -g -c"
    name=${compiler%% *}
    show errors "${command[@]}" -I6 name.c
    fact "$name finds filename->name of Linux 6.12" output_has '^no error$'
    show errors "${command[@]}" -I6 "-DSIZE=$six" size.c
    fact "$name gives struct filename its size in Linux 6.12" output_has '^no error$'
    for folder in packaged 7; do
        show errors "${command[@]}" -I$folder name.c
        fact "$name does not find filename->name of Linux 7 ($folder)" output_has "no member named .?name"
        fact "$name warns" grep -q 'declaration does not declare anything' "$work/log"
        show errors "${command[@]}" -I$folder -fms-extensions name.c
        fact "with -fms-extensions it does" output_has '^no error$'
    done
    show errors "${command[@]}" -I7 "-DSIZE=$size" size.c
    fact "$name gives struct filename another size than Linux 7.3" output_has 'another size'
    show errors "${command[@]}" -I7 "-DSIZE=$size" -fms-extensions size.c
    fact "with -fms-extensions the same" output_has '^no error$'
done
silent() { inside "$root" clang-23 -target bpf -g -I7 -fms-extensions "$@" -c name.c && echo "end of messages"; }
show silent
fact "with -fms-extensions clang warns" output_has 'Wmicrosoft-anon-tag'
show silent -Wno-microsoft-anon-tag
fact "with -Wno-microsoft-anon-tag, too, it does not" output_lacks 'warning'
shown=$(zcat "$root/usr/share/man/man8/bpftool-btf.8.gz")
fact "bpftool's manual page has no word of it" output_lacks 'ms.?-extensions'
finish
