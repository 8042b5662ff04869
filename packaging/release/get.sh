#!/bin/sh
# Installs bpfman @VERSION@: curl -fsSL @ADDRESS@/install.sh | sudo sh
#
# It downloads the archive for this machine, verifies its checksum, and runs the install.sh in it. To verify the signature of
# the checksums as well, download SHA256SUMS and SHA256SUMS.asc, and use gpg with bpfman.asc.
set -eu
address=${BPFMAN_ADDRESS:-@ADDRESS@} version=@VERSION@
fail() { echo "install.sh: $*" >&2; exit 1; }

# Run no command before the whole file has arrived.
main() {
    case $(uname -s)-$(uname -m) in
        Linux-x86_64) machine=amd64 ;;
        Linux-aarch64) machine=arm64 ;;
        *) fail "there is no archive for $(uname -s) on $(uname -m)" ;;
    esac
    name=bpfman-$version-linux-$machine
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    for file in SHA256SUMS "$name.tar.gz"; do
        curl -fsSLo "$work/$file" "$address/$file" || fail "cannot download $address/$file"
    done
    (cd "$work" && grep " $name.tar.gz\$" SHA256SUMS | sha256sum -c - > /dev/null) || fail "$name.tar.gz is not what SHA256SUMS says"
    tar -C "$work" -xzf "$work/$name.tar.gz"
    # The input of this shell may be this file.
    sh "$work/$name/install.sh" "$@" < /dev/null
}
main "$@"
