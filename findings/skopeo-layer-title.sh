#!/usr/bin/env bash
# what: skopeo copy drops a layer's title where it compresses the layer, and oras pull of the copy ends well without a file
#
# Expected: copying an image leaves its annotations alone: they are free for users, and oras keeps the names of its files
#     there (org.opencontainers.image.title). A copy gives the same files as its source.
# Is: skopeo compresses layers that are plain tar archives when it uploads them to a registry, and makes a new descriptor for
#     each, without annotations; those of the manifest stay. oras skips layers without a title: `oras pull` of the copy
#     ends with status 0 and writes nothing. A copy within the registry, which has the layer, leaves it as it is, so one
#     command does both. --preserve-digests keeps layer and title. An artifact is not compressed, as its configuration
#     is not that of an image. oras copy keeps everything.
# Versions: skopeo 1.18.0 (Debian 13) and 1.22.0, oras 1.3.3-1 (Debian sid), distribution 2.8.3 (Debian 13)
# Seen: 2026-12-01
. "$(dirname "$0")/lib.sh"
need python3

distribution
source=127.0.0.1:$port
registries=()
for _ in 1 2; do distribution && registries+=("127.0.0.1:$port"); done
debian trixie skopeo
old=$root
debian sid skopeo
new=$root
debian sid oras ca-certificates
version() { inside "$1" skopeo --version | sed 's/.* //'; }
versions "skopeo $(version "$old") and $(version "$new"), oras $(package_version "$root" oras)"

echo data > "$work/data"
tar -c -f "$root/work/data.tar" -C "$work" data
tar -c -f "$root/work/other.tar" -C "$work" data data
hash=$(sha256sum "$root/work/data.tar" | cut -d' ' -f1)
echo "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$hash\"]}}" > "$root/work/config"
type=application/vnd.oci.image.layer.v1.tar
oras() { inside "$root" oras "$@"; }
oras push --plain-http "$source/team/image:one" --config config:application/vnd.oci.image.config.v1+json "data.tar:$type" > "$work/push"
oras push --plain-http "$source/team/artifact:one" --artifact-type application/vnd.example "other.tar:$type" > "$work/push"
# IMAGE: its first layer; then the files that oras makes of it.
look() {
    oras manifest fetch --plain-http "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["layers"][0])'
    rm -rf "$root/work/pulled"
    oras pull --plain-http "$1" -o pulled > "$work/pull" || echo "pull failed"
    echo "files: $(ls "$root/work/pulled" 2> "$work/log")"
}
copied() { inside "$1" skopeo copy -q --src-tls-verify=false --dest-tls-verify=false "${@:2}"; }
show look "$source/team/image:one"
fact "oras pulls the file of the source" output_has '^files: data.tar$'
for place in "$old" "$new"; do
    name="skopeo $(version "$place")"
    other=${registries[-1]}
    unset 'registries[-1]'
    copied "$place" "docker://$source/team/image:one" "docker://$other/team/image:one"
    show look "$other/team/image:one"
    fact "$name: a copied layer is compressed, and has no title" eval 'output_has "tar.gzip" && output_lacks title'
    fact "$name: oras pulls nothing, and succeeds" eval 'output_has "^files: $" && output_lacks failed'
    copied "$place" --preserve-digests "docker://$source/team/image:one" "docker://$other/preserved/image:one"
    show look "$other/preserved/image:one"
    fact "$name: with --preserve-digests the title is there" output_has '^files: data.tar$'
    copied "$place" "docker://$source/team/image:one" "docker://$source/same/image:one"
    show look "$source/same/image:one"
    fact "$name: in the registry of the source the title is there" output_has '^files: data.tar$'
    copied "$place" "docker://$source/team/artifact:one" "docker://$other/team/artifact:one"
    show look "$other/team/artifact:one"
    fact "$name: an artifact's title is there" output_has '^files: other.tar$'
done
oras copy --from-plain-http --to-plain-http "$source/team/image:one" "$other/by-oras/image:one" > "$work/copy"
show look "$other/by-oras/image:one"
fact "in a copy by oras the title is there" output_has '^files: data.tar$'
finish
