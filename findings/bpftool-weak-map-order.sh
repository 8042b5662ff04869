#!/usr/bin/env bash
# what: of a weak and a strong map, the order of the files decides whether libbpf opens what its linker made
#
# Expected: `bpftool gen object` merges a map that is weak in one file and strong in another, whichever comes first.
# Is: it links both orders without a message. With the strong one first the result opens; with the weak one first libbpf
#     refuses its own linker's result: "map relo failed to find map", as the weak file's program still refers to the
#     place of the weak map. Two weak ones work.
# Versions: bpftool 7.5.0 with libbpf 1.5 (Debian 13), bpftool 7.8.0 with libbpf 1.8, clang 23.1.4-2 (Debian sid)
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"

stable_tools
old=$root
newest_tools
# FILE PROGRAM ATTRIBUTE
compile() {
    cat > "$root/work/$1.c" << C
#define SECTION(name) __attribute__((section(name), used))
static void *(*lookup)(void *, const void *) = (void *) 1;
struct {
    int (*type)[2];
    int (*max_entries)[1];
    int *key;
    long *value;
} hits SECTION(".maps") $3;
SECTION("socket") int $2(void *packet) { int key = 0; return lookup(&hits, &key) != 0; }
char license_of_$2[] SECTION("license") = "GPL";
C
    inside "$root" clang-23 -target bpf -O2 -g -c "$1.c" -o "$1.o"
    cp "$root/work/$1.o" "$old/work/"
}
compile strong one ''
compile weak two '__attribute__((weak))'
compile weak-too three '__attribute__((weak))'
version() { inside "$1" bpftool version | sed -n 's/^using //p'; }
versions "$(version "$old"), $(version "$root"), clang $(inside "$root" clang-23 -dumpversion)"

# FOLDER FILE...: links the files and opens the result.
link() { inside "$1" bpftool gen object linked.o "${@:2}" && echo linked; }
opened() { inside "$1" bpftool gen skeleton linked.o 2>&1 > "$work/skeleton" || return; echo opened; }
for place in "$old" "$root"; do
    name=$(version "$place")
    show link "$place" strong.o weak.o
    show opened "$place"
    fact "$name opens strong before weak" output_has '^opened$'
    show link "$place" weak.o strong.o
    fact "$name links weak before strong" succeeded
    show opened "$place"
    fact "$name does not open what it linked" output_has 'failed to find map'
    show link "$place" weak.o weak-too.o
    show opened "$place"
    fact "$name opens weak before weak" output_has '^opened$'
done
finish
