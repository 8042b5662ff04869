#!/usr/bin/env bash
# what: do_unlinkat, at which the tutorials of kprobes attach, and its like are gone in Linux 7; vfs_unlink stays
#
# Expected: a function that has been in the kernel for two decades, and that most introductions to eBPF attach to, is there.
# Is: Debian's kernel of backports (7.3) has no do_unlinkat, do_mkdirat, do_rmdir, do_renameat2, do_linkat, do_symlinkat,
#     do_mknodat and do_filp_open: functions on open names (filename_unlinkat, …, do_file_open) took their places. A
#     kprobe or fentry on an old name is refused. The vfs_ functions and do_sys_openat2 are on both sides, so a
#     program that has to run on 6.12 and 7.3 attaches there. Seen by the kernels' type information, without a boot.
# Versions: Linux 6.12.117 (Debian 13), Linux 7.3.4+deb13 (Debian 13, backports), bpftool 7.5.0
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"

kernel_6
old=$release
kernel_7
new=$release
stable_tools
# SUITE: the functions in the type information of its kernel, to $work/SUITE.functions.
functions() {
    cp "$work/$1" "$root/work/kernel"
    inside "$root" bpftool btf dump file kernel | sed -n "s/.* FUNC '\([^']*\)'.*/\1/p" | sort -u > "$work/$1.functions"
}
functions trixie
functions trixie-backports
versions "Linux $old, $new"

# FILE NAME...: those names that the kernel has.
those() { printf '%s\n' "${@:2}" | sort | comm -12 - "$work/$1.functions"; }
gone=(do_unlinkat do_mkdirat do_rmdir do_renameat2 do_linkat do_symlinkat do_mknodat do_filp_open)
stay=(vfs_unlink vfs_mkdir vfs_rmdir vfs_rename vfs_link vfs_symlink vfs_mknod do_sys_openat2)
came=(filename_unlinkat filename_mkdirat filename_rmdir filename_renameat2 filename_linkat filename_symlinkat filename_mknodat do_file_open)
has_all() { [ "$(those "$1" "${@:2}" | wc -l)" = $(($# - 1)) ]; }
has_none() { [ -z "$(those "$1" "${@:2}")" ]; }
for suite in trixie trixie-backports; do
    show those $suite "${gone[@]}" "${stay[@]}" "${came[@]}"
done
fact "Linux $old has do_unlinkat and its like" has_all trixie "${gone[@]}"
fact "Linux $new has none of them" has_none trixie-backports "${gone[@]}"
fact "Linux $new has other names for them" has_all trixie-backports "${came[@]}"
fact "Linux $old does not have those" has_none trixie "${came[@]}"
fact "both have the vfs_ functions and do_sys_openat2" eval 'has_all trixie "${stay[@]}" && has_all trixie-backports "${stay[@]}"'
finish
