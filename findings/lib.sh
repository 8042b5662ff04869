# Sourced by every finding. It gives a temporary folder and the means to fill it with public packages; when the finding ends,
# the processes it started are ended and the folder is removed. shellcheck shell=bash
#
#   work       the finding's own folder
#   PACKAGES   folder of what was unpacked or built; shared by the findings of one `findings/run`
#
# Status 0: everything holds. 1: something changed. 77: it cannot run here, for want of a package or a tool.
set -euo pipefail

project=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
work=$(mktemp -d)
PACKAGES=${PACKAGES:-$work/packages}
export HOME=$work # configuration and caches of tools
children=() changed=0 # children: process groups

clean_up() {
    local child
    for child in ${children[@]+"${children[@]}"}; do
        kill -- "-$child" 2> /dev/null || true
        wait "$child" 2> /dev/null || true
    done
    chmod -R u+w "$work"
    rm -rf "$work"
}
trap clean_up EXIT

cannot() { echo "cannot run here: $*"; exit 77; }
need() {
    local tool
    for tool in "$@"; do command -v "$tool" > /dev/null || cannot "$tool is missing"; done
}

# SUITE PATTERN...: unpacks packages of Debian with their dependencies, and sets `root` to the folder. What is at $root/work
# is this finding's own.
debian() {
    local link
    unpack -d "$1" dash "${@:2}"
    for link in bin sbin lib lib64; do
        [ -e "$root/$link" ] || ln -s "usr/$link" "$root/$link"
    done
    rm -rf "$root/work"
    mkdir "$root/work"
}
# Compilers, linkers and loaders of Debian 13 and of Debian unstable, one folder each for all findings.
stable_tools() { debian trixie gcc-bpf bpftool zstd; }
newest_tools() { debian sid clang-23 llvm-23 gcc-bpf bpftool linux-bpf-dev; }
# SUITE PATTERN: unpacks the kernel of such a package, which has its type information, to $work/SUITE, and sets `release`.
kernel() {
    local image
    need python3
    stable_tools
    local tools=$root
    debian_files "$1" "$2"
    image=$(find "$root" -name 'vmlinuz*' -print -quit)
    [ -n "$image" ] || cannot "no kernel image in $2"
    # The boot protocol's header: sectors of the set-up code, place and length of the compressed kernel. The last four
    # bytes are its length when unpacked.
    python3 -c 'import struct, sys
image = open(sys.argv[1], "rb").read()
place, size = struct.unpack_from("<II", image, 0x248)
place += (image[0x1f1] + 1) * 512
open(sys.argv[2], "wb").write(image[place : place + size - 4])' "$image" "$tools/work/compressed"
    inside "$tools" zstd -q -f -d compressed -o kernel || cannot "the kernel is not compressed by zstd"
    mv "$tools/work/kernel" "$work/$1"
    case $image in */vmlinuz-*) release=${image##*/vmlinuz-} ;; *) release=$(basename "$(dirname "$image")") ;; esac
}
kernel_6() { kernel trixie 'linux-image-6\.12\.[0-9]+\+deb13-cloud-amd64'; }
kernel_7() { kernel trixie-backports 'linux-binary-7\.3\.[0-9]+\+deb13-cloud-amd64'; }
# As `debian` without dependencies, for packages whose files are only read.
debian_files() { unpack "$@"; }
# [-d] SUITE PATTERN...
unpack() {
    need apt-get dpkg
    root=$PACKAGES/$(sha256sum <<< "$*" | cut -c1-12)
    [ ! -e "$root" ] || return 0
    rm -rf "$root.fresh"
    mkdir -p "$PACKAGES"
    local flags=()
    [ "$1" != -d ] || { flags=(-d); shift; }
    "$project/tests/tools/debian-packages" ${flags[@]+"${flags[@]}"} "$1" "$root.fresh" "${@:2}" 2> "$work/apt" \
        || { cat "$work/apt"; cannot "no packages of Debian $1: ${*:2}"; }
    mv "$root.fresh" "$root"
}
# ROOT COMMAND...: runs a program that was unpacked there, in the folder /work of that root.
inside() {
    local own=(unshare --map-root-user)
    [ "$(id -u)" != 0 ] || own=(env)
    (cd / && LC_ALL=C PATH=/usr/bin:/usr/sbin "${own[@]}" chroot "$1" /bin/dash -c 'cd /work && exec "$@"' dash "${@:2}")
}
# ROOT PACKAGE: the version of a package that was unpacked there.
package_version() { zcat "$1/usr/share/doc/$2/changelog.Debian.gz" 2> "$work/changelog" | sed -n '1s/.*(\(.*\)).*/\1/p'; }

# Go for modules: builds are kept in PACKAGES, and nothing of this machine's own is used.
go_setup() {
    local bin
    bin=$(BPFMAN_KUBE_CACHE=$PACKAGES/go-compiler "$project/tests/kube/go" 2> "$work/go") \
        || { cat "$work/go"; cannot "no Go compiler"; }
    export PATH=$bin:$PATH GOPATH=$PACKAGES/go GOCACHE=$PACKAGES/go-build GOBIN=$PACKAGES/bin GOFLAGS=-modcacherw
}
# PROGRAM@VERSION...: programs of Go modules, built to $PACKAGES/bin.
go_programs() {
    go_setup
    go install "$@" 2> "$work/go" || { tail -5 "$work/go"; cannot "Go modules cannot be built: $*"; }
}
# NAME MODULE@VERSION: a program of this finding, whose source comes on standard input, built to $work/NAME.
go_source() {
    go_setup
    mkdir "$work/$1.source"
    cat > "$work/$1.source/main.go"
    (cd "$work/$1.source" && go mod init "example.org/$1" && go get "$2" && go build -o "$work/$1" .) 2> "$work/go" \
        || { tail -5 "$work/go"; cannot "a Go program with $2 cannot be built"; }
}

# A port on loopback that is free now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
# PORT COMMAND...: starts a server and waits until it listens; its output goes to $work/server.
serve() {
    local port=$1
    shift
    set -m # a process group of its own, which is ended as a whole
    "$@" > "$work/server" 2>&1 &
    set +m
    children+=($!)
    for _ in $(seq 300); do
        ! (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null || return 0
        kill -0 "${children[-1]}" 2> /dev/null || break
        sleep 0.1
    done
    cat "$work/server"
    cannot "the server does not start: $*"
}
# Starts Debian 13's registry, distribution 2.8, which has no referrers API, and sets `port`.
distribution() {
    debian trixie docker-registry
    port=$(free_port)
    cat > "$root/work/registry.yml" << YAML
version: 0.1
storage: { inmemory: {} }
http: { addr: "127.0.0.1:$port" }
log: { level: error, accesslog: { disabled: true } }
YAML
    serve "$port" inside "$root" docker-registry serve registry.yml
}

# What was run, for the table of findings/run.
versions() { echo "versions: $*"; }
# The output of a command, indented; its status is in `status`.
show() {
    local output
    status=0
    output=$("$@" 2>&1) || status=$?
    sed 's/^/    /' <<< "$output"
    shown=$output
}
# SENTENCE COMMAND...: a fact that holds if the command succeeds.
fact() {
    if "${@:2}" > /dev/null 2>&1; then
        echo "holds: $1"
    else
        echo "CHANGED, no longer so: $1"
        changed=1
    fi
}
# REGEX: whether the output that `show` printed last has it.
output_has() { grep -qE -- "$1" <<< "$shown"; }
output_lacks() { ! output_has "$1"; }
succeeded() { [ "$status" = 0 ]; }
failed() { [ "$status" != 0 ]; }
finish() { exit "$changed"; }
