#!/usr/bin/env bash
# what: two static functions of one name, linked by bpftool, are opened by libbpf and refused by cilium/ebpf
#
# Expected: static functions are private to their files, so linking files that each have a `helper` is no conflict.
# Is: `bpftool gen object` keeps both as local symbols of one name in .text, which ELF allows. libbpf tells them apart by
#     offset; cilium/ebpf knows functions by name, and refuses the file: "duplicate symbol". A library that is
#     linked in this way works with one loader only.
# Versions: bpftool 7.8.0 with libbpf 1.8, clang 23.1.4-2 (Debian sid), cilium/ebpf 0.22.0
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"

newest_tools
go_source read github.com/cilium/ebpf@v0.22.0 << 'GO'
package main

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

func main() {
	for _, path := range os.Args[1:] {
		if _, err := ebpf.LoadCollectionSpec(path); err != nil {
			fmt.Println("refused:", err)
		} else {
			fmt.Println("opened")
		}
	}
}
GO
# FILE OPERATION
compile() {
    cat > "$root/work/$1.c" << C
#define SECTION(name) __attribute__((section(name), used))
static __attribute__((noinline)) int helper(unsigned *packet) { return *packet $2; }
SECTION("socket") int $1(unsigned *packet) { return helper(packet); }
char license_of_$1[] SECTION("license") = "GPL";
C
    inside "$root" clang-23 -target bpf -O2 -g -c "$1.c" -o "$1.o"
}
compile one '* 3'
compile two '+ 5'
versions "$(inside "$root" bpftool version | sed -n 's/^using //p'), cilium/ebpf 0.22.0"

inside "$root" bpftool gen object linked.o one.o two.o
functions() { inside "$root" llvm-readelf-23 --symbols linked.o | grep FUNC; }
show functions
fact "the linked file has two local functions \`helper\`" [ "$(grep -c 'LOCAL.* helper$' <<< "$shown")" = 2 ]
opened() { inside "$root" bpftool gen skeleton linked.o 2>&1 > "$work/skeleton" || return; echo opened; }
show opened
fact "libbpf opens it" output_has '^opened$'
show "$work/read" "$root/work/one.o" "$root/work/two.o"
fact "cilium/ebpf opens each file alone" output_lacks refused
show "$work/read" "$root/work/linked.o"
fact "cilium/ebpf refuses them linked" output_has 'refused.*duplicate symbol'
finish
