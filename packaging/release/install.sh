#!/bin/sh
# Installs bpfman from the archive that contains this file, to the same paths as the packages. Run it as root.
#
#   ./install.sh              installs, and starts the daemon if systemd runs
#   ./install.sh --remove     removes installed files; settings, records and programs in the kernel stay
#   ./install.sh --into FOLDER    installs below a folder, and starts nothing
#
# Existing settings in /etc/bpfman are kept; new ones are written beside them as NAME.new.
set -eu
umask 022

fail() { echo "install.sh: $*" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
into='' action=install
while [ $# -gt 0 ]; do
    case $1 in
        --remove) action=remove ;;
        --into) [ -n "${2:-}" ] || fail "--into takes a folder"; into=$2; shift ;;
        *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2 ;;
    esac
    shift
done
[ -d "$here/files" ] || fail "$here/files is missing: run it in the unpacked archive"
[ -n "$into" ] || [ "$(id -u)" = 0 ] || fail "it installs to /usr and /etc: run it as root, for example: sudo $here/install.sh"
if [ -z "$into" ]; then
    case $(uname -m) in x86_64) machine=amd64 ;; aarch64) machine=arm64 ;; *) machine=$(uname -m) ;; esac
    case $(basename "$here") in
        *-linux-"$machine") ;;
        *-linux-*) fail "this archive is for ${here##*-linux-}, and this machine is $machine" ;;
    esac
    for package in bpfman bpfman-tools bpfman-gallery; do
        if dpkg-query -W -f '${db:Status-Status}' $package 2> /dev/null | grep -qx installed || rpm -q $package > /dev/null 2>&1; then
            fail "$package is installed as a package, which this would overwrite: remove the package first, or upgrade it instead"
        fi
    done
fi
running() { [ -z "$into" ] && [ -d /run/systemd/system ]; }
files() { (cd "$here/files" && find . \( -type f -o -type l \) | sed 's|^\./||' | LC_ALL=C sort); }

if [ $action = remove ]; then
    if running; then systemctl disable --quiet --now bpfmand.service bpfmand.socket || true; fi
    files | while read -r file; do
        case $file in etc/*) ;; *) rm -f "$into/$file" ;; esac
    done
    if running; then systemctl daemon-reload; fi
    echo "bpfman is removed. Programs run on until the next boot; /etc/bpfman and /var/lib/bpfman stay."
    exit 0
fi

files | while read -r file; do
    mkdir -p "$into/$(dirname "$file")"
    # If both folders are the same (Fedora from 42 on), the link for scripts of v0.6.0 would replace the client.
    if [ "$file" = usr/sbin/bpfman ] && [ "$into/usr/sbin" -ef "$into/usr/bin" ]; then continue; fi
    # Write beside the file and rename: a running program keeps its file.
    case $file in
        etc/*) target=$into/$file; if [ -e "$target" ] && ! cmp -s "$here/files/$file" "$target"; then target=$target.new; fi ;;
        *) target=$into/$file ;;
    esac
    cp -pP "$here/files/$file" "$target.install.$$"
    # Root runs these files: they must not belong to the user who unpacked the archive.
    [ "$(id -u)" != 0 ] || chown -h 0:0 "$target.install.$$"
    [ -L "$target.install.$$" ] || chmod go-w "$target.install.$$"
    mv -f "$target.install.$$" "$target"
done
chmod 0750 "$into/etc/bpfman"
if running; then
    systemd-sysusers /usr/lib/sysusers.d/bpfman.conf
    systemd-tmpfiles --create /usr/lib/tmpfiles.d/bpfman.conf
    systemctl daemon-reload
    systemctl enable --quiet bpfmand.socket bpfmand.service
    systemctl start bpfmand.socket
    systemctl restart bpfmand.service
    echo "bpfman runs. See it: bpfman doctor"
else
    echo "bpfman is installed${into:+ below $into}. Start the daemon: ${into}/usr/sbin/bpfmand"
fi
