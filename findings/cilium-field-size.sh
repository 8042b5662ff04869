#!/usr/bin/env bash
# what: where a kernel's field has another size, libbpf reads the field, cilium/ebpf reads as many bytes as the program has
#
# Expected: a program that reads a field directly, with CO-RE, reads that field on each kernel. libbpf's source promises it
#     for fields "that were resized from, e.g., u32 to u64". aya-obj 0.2.1 does the same (seen apart from this script).
# Is: cilium/ebpf adjusts the offset of the load and keeps its size, without a message. On Linux 7.3, programs with the types
#     of 6.12 get wrong values: request_queue.nr_requests was 8 bytes and is 4, so the value has the neighbour async_depth in
#     its upper half; task_struct.on_cpu was an int and is one byte, so the value has on_rq and others. libbpf reads 4 bytes of
#     the first, and refuses the second, as it was signed: "accesses field incorrectly". A program that asks for the
#     field's size (bpf_core_field_size) and reads so many bytes is right with both.
# Versions: cilium/ebpf 0.22.0, bpftool 7.8.0 with libbpf 1.8, clang 23.1.4-2 (Debian sid), types of Linux 6.12.117 (Debian 13)
#     and 7.3.4+deb13 (backports)
# Seen: 2026-12-01
. "$(dirname "$0")/lib.sh"
need unshare

kernel_6
old=$release
kernel_7
new=$release
newest_tools
go_source load github.com/cilium/ebpf@v0.22.0 << 'GO'
package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func check(err error) {
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}

// usage: load OBJECT KERNEL
func main() {
	kernel, err := elf.Open(os.Args[2])
	check(err)
	section, err := kernel.Section(".BTF").Data()
	check(err)
	types, err := btf.LoadSpecFromReader(bytes.NewReader(section))
	check(err)
	spec, err := ebpf.LoadCollectionSpec(os.Args[1])
	check(err)
	options := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: types}}
	loaded, err := ebpf.NewCollectionWithOptions(spec, options)
	check(err)
	value, _, err := loaded.Programs["one"].Test(make([]byte, 64))
	check(err)
	fmt.Printf("Return value: %d\n", value)
}
GO

# STRUCT TYPE FIELD: programs that read the field, with its type in 6.12, from memory where each byte is 1. They return the
# sum of the bytes: their number. The second one, sized-FIELD.o, asks for the field's place and size.
compile() {
    cat > "$root/work/$3.c" << C
#define SECTION(name) __attribute__((section(name), used))
struct $1 { $2 $3; } __attribute__((preserve_access_index));
unsigned char memory[4096] = {[0 ... 4095] = 1};
SECTION("socket") int one(void *packet) {
    struct $1 *object = (void *) memory;
    asm volatile("" : "+r"(object));
    unsigned long value = 0;
#ifdef SIZED
    void *place = (void *) object + __builtin_preserve_field_info(object->$3, 0);
    asm volatile("" : "+r"(place));
    switch (__builtin_preserve_field_info(object->$3, 1)) {
    case 1: value = *(unsigned char *) place; break;
    case 4: value = *(unsigned int *) place; break;
    case 8: value = *(unsigned long *) place; break;
    }
#else
    value = object->$3;
#endif
    return value * 0x0101010101010101 >> 56;
}
char LICENSE[] SECTION("license") = "GPL";
C
    inside "$root" clang-23 -target bpf -O2 -g -c "$3.c" -o "$3.o"
    inside "$root" clang-23 -target bpf -O2 -g -DSIZED -c "$3.c" -o "sized-$3.o"
}
compile request_queue 'unsigned long' nr_requests
compile task_struct int on_cpu
versions "cilium/ebpf 0.22.0, $(inside "$root" bpftool version | sed -n 's/^using //p'), Linux $old, $new"

mkdir -p "$root/work/pins" "$root/proc"
head -c 64 /dev/zero > "$root/work/packet"
cp "$work/trixie" "$work/trixie-backports" "$root/work/"
# FIELD SUITE: bpftool reads /proc and mounts a file system for the pin; both are there for these commands only.
libbpf() {
    unshare --mount bash -euc "$(declare -f inside)"'
        mount -t proc none "$1/proc"
        inside "$1" bpftool prog load "$2.o" /work/pins/one kernel_btf "$3"
        inside "$1" bpftool prog run pinned /work/pins/one data_in packet' bash "$root" "$1" "$2"
}
cilium() { "$work/load" "$root/work/$1.o" "$work/$2"; }
# LOADER FIELD SUITE NUMBER
reads() {
    show "$1" "$2" "$3"
    fact "$1 reads $4 bytes as $2 of $3" output_has "^Return value: $4\b"
}
for loader in libbpf cilium; do
    reads $loader nr_requests trixie 8
    reads $loader on_cpu trixie 4
done
reads libbpf nr_requests trixie-backports 4
reads cilium nr_requests trixie-backports 8
reads cilium on_cpu trixie-backports 4
for loader in libbpf cilium; do
    reads $loader sized-nr_requests trixie-backports 4
    reads $loader sized-on_cpu trixie-backports 1
done
show libbpf on_cpu trixie-backports
fact "libbpf refuses on_cpu of trixie-backports" output_has 'accesses field incorrectly'

structures() { inside "$root" bpftool btf dump file trixie-backports format c | grep -A1 -E '^\s(unsigned int|u8) (nr_requests|on_cpu);'; }
show structures
fact "async_depth follows nr_requests" output_has 'async_depth;'
fact "on_rq follows on_cpu" output_has 'on_rq;'
finish
