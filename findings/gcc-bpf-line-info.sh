#!/usr/bin/env bash
# what: objects of Debian 13's gcc-bpf are refused by cilium/ebpf, and opened by libbpf
#
# Expected: an object of one BPF compiler loads by each common loader.
# Is: GCC 14 writes a section .BTF.ext whose part for line information has length 0. libbpf takes this as "no line
#     information"; cilium/ebpf reads a record size there and ends with "EOF". GCC 16 writes line information, and
#     cilium/ebpf opens its objects. No flag of GCC 14 helps (-g, -gbtf); without -g there is no BTF at all.
# Versions: gcc-bpf 14.2.0-19+2 (Debian 13), 16.2.0-3+2 (Debian sid), bpftool 7.5.0 with libbpf 1.5, cilium/ebpf 0.22.0
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"
need python3

stable_tools
old=$root
newest_tools
new=$root
go_source read github.com/cilium/ebpf@v0.22.0 << 'GO'
package main

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
)

func main() {
	spec, err := ebpf.LoadCollectionSpec(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("programs:", len(spec.Programs))
}
GO
for place in "$old" "$new"; do
    cat > "$place/work/one.c" << 'C'
struct packet { unsigned int length, type, mark; };
__attribute__((section("socket"), used)) int one(struct packet *packet) { return packet->length + packet->mark; }
char LICENSE[] __attribute__((section("license"))) = "GPL";
C
    inside "$place" bpf-gcc -O2 -g -c one.c -o one.o
done
versions "gcc-bpf $(inside "$old" bpf-gcc -dumpfullversion) and $(inside "$new" bpf-gcc -dumpfullversion), cilium/ebpf 0.22.0"

# Offset and length of function and line information: the header's words 2 to 5.
line_information() {
    inside "$1" bpf-objcopy -O binary --only-section=.BTF.ext --set-section-flags .BTF.ext=alloc one.o ext
    python3 -c 'import struct, sys
print("length of line information:", struct.unpack_from("<6I", open(sys.argv[1], "rb").read())[5])' "$1/work/ext"
}
echo "GCC 14:"
show line_information "$old"
fact "GCC 14 writes no line information" output_has ': 0$'
show inside "$old" bpftool gen object linked.o one.o
fact "libbpf links its object" succeeded
show "$work/read" "$old/work/one.o"
fact "cilium/ebpf refuses it" output_has 'line info.*EOF'
echo "GCC 16:"
show line_information "$new"
fact "GCC 16 writes line information" output_lacks ': 0$'
show "$work/read" "$new/work/one.o"
fact "cilium/ebpf opens its object" succeeded
finish
