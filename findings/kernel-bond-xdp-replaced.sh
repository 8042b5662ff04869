#!/usr/bin/env bash
# what: Linux 6.12 never frees an XDP program of a bond that was replaced by another one
#
# Expected: an XDP program that was replaced at an interface, and that nothing holds any more, leaves the kernel.
# Is: a bond keeps a reference to each program that was replaced at it (`bpftool net attach … overwrite`, a link's update),
#     also when the bond is deleted: its memory and maps stay until the next reboot. Detach and attach instead, where a
#     gap does no harm. Linux 7.3 frees it. At a veth both free it.
# Versions: Linux 6.12.117 (Debian 12), Linux 7.3.4+deb13 (Debian 13, backports), bpftool of Debian 12
# Seen: 2026-11-29
. "$(dirname "$0")/lib.sh"
need clang
need bpftool
need qemu-system-x86_64

printf '%s\n' 'int one(void *c) __attribute__((section("xdp"), used));' 'int one(void *c) { return 2; }' \
    'char LICENSE[] __attribute__((section("license"), used)) = "GPL";' > "$work/one.c"
clang -O2 -target bpf -c "$work/one.c" -o "$work/one.o"
cat > "$work/inside" <<'INSIDE'
modprobe veth && modprobe bonding || exit
cd "$1" && uname -r > release-"$2"
ip link add s1 type veth peer name p1 && ip link add bond0 type bond mode active-backup
ip link set s1 master bond0 && for name in p1 s1 bond0; do ip link set $name up; done
for device in p1 bond0; do
    for name in a b; do bpftool prog load one.o /sys/fs/bpf/$name type xdp; done
    bpftool net attach xdpdrv pinned /sys/fs/bpf/a dev $device
    bpftool net attach xdpdrv pinned /sys/fs/bpf/b dev $device overwrite
    bpftool net detach xdpdrv dev $device
    rm /sys/fs/bpf/a /sys/fs/bpf/b
    [ $device = p1 ] || ip link del bond0
    # The kernel frees programs in the background.
    for _ in $(seq 50); do left=$(bpftool prog list | grep -c 'xdp  *name one'); [ "$left" != 0 ] || break; sleep 0.1; done
    echo "$device: $left left"
done
INSIDE
# KERNEL: what is left there, to `shown`.
left() { show "$project/tests/vm/run" -k "$1" -w "$work" -- bash "$work/inside" "$work" "$1"; }
left 6.12
fact "Linux 6.12 frees a replaced program of a veth" output_has '^ *p1: 0 left'
fact "Linux 6.12 keeps a replaced program of a bond that is deleted" output_has '^ *bond0: 1 left'
left 7.3
fact "Linux 7.3 frees it" output_has '^ *bond0: 0 left'
versions "Linux $(cat "$work/release-6.12"), $(cat "$work/release-7.3")"
finish
