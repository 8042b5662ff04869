#!/usr/bin/env bash
# what: cosign 3 copy leaves the signature behind, and stores the image under the tag of its referrers, where signing fails then
#
# Expected: "Copy the supplied container image and signatures", as the help of `cosign copy` says. A destination can be signed
#     again in any case.
# Is: cosign 3 signs with bundles, which are referrers of the image; copy looks for the tags of cosign 2 only. It ends with
#     status 0, and the copy does not verify. On a registry without referrers API, the tag sha256-DIGEST should be an index
#     of referrers: copy takes it for a signature's tag, and stores the image itself under it, also where the API is.
#     From then on `cosign sign` fails at the destination on go-containerregistry's registry without the API: "fallback
#     tag manifest is not an OCI image index". An `oras attach` there helps; on distribution 2.8 signing works at
#     once. copy prints that it is deprecated, not that it lacks anything; `oras copy -r`, which it names, copies the bundle.
# Versions: cosign 3.1.1-2, oras 1.3.3-1 (Debian sid), distribution 2.8.3 (Debian 13), go-containerregistry 0.22.1
# Seen: 2026-12-01
. "$(dirname "$0")/lib.sh"

go_source registry github.com/google/go-containerregistry@v0.22.1 << 'GO'
package main

import (
	"io"
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	quiet := registry.Logger(log.New(io.Discard, "", 0))
	referrers := registry.WithReferrersSupport(os.Args[2] == "referrers")
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], registry.New(referrers, quiet)))
}
GO
declare -A ports
for kind in referrers tags; do
    ports[$kind]=$(free_port)
    serve "${ports[$kind]}" "$work/registry" "${ports[$kind]}" $kind
done
distribution
ports[distribution]=$port
debian sid cosign oras ca-certificates
versions "cosign $(package_version "$root" cosign), oras $(package_version "$root" oras), go-containerregistry 0.22.1"

export COSIGN_PASSWORD=
inside "$root" cosign generate-key-pair > "$work/keys" 2>&1
echo data > "$root/work/data"
sign() { inside "$root" cosign sign --yes --key cosign.key --use-signing-config=false --tlog-upload=false --allow-http-registry "$1@$digest"; }
verify() {
    inside "$root" cosign verify --key cosign.pub --insecure-ignore-tlog --allow-http-registry "$1@$digest" 2>&1 |
        grep -E '^Error|were verified'
}
shown=$(inside "$root" cosign copy --help 2> "$work/log")
fact "the help promises signatures" output_has 'container image and signatures'
for kind in referrers distribution tags; do
    registry=127.0.0.1:${ports[$kind]}
    echo "$kind:"
    inside "$root" oras push --plain-http "$registry/team/tools:one" data > "$work/push"
    digest=$(sed -n 's/^Digest: //p' "$work/push")
    show sign "$registry/team/tools"
    show verify "$registry/team/tools"
    fact "the source verifies" succeeded
    show inside "$root" cosign copy --allow-http-registry "$registry/team/tools:one" "$registry/other/tools:one"
    fact "cosign copies it" succeeded
    show verify "$registry/other/tools"
    fact "the copy has no signature" output_has 'no signatures found'
    show inside "$root" oras resolve --plain-http "$registry/other/tools:${digest/:/-}"
    fact "the tag of its referrers is the image" [ "$shown" = "$digest" ]
    show sign "$registry/other/tools"
    case $kind in
        tags) fact "the copy cannot be signed" output_has 'fallback tag manifest is not an OCI image index' ;;
        *) fact "the copy can be signed" succeeded ;;
    esac
    show inside "$root" oras copy -r --from-plain-http --to-plain-http "$registry/team/tools:one" "$registry/third/tools:one"
    show verify "$registry/third/tools"
    fact "a copy by oras verifies" succeeded
done
# The last of them, where the copy cannot be signed.
show inside "$root" oras attach --plain-http --artifact-type application/vnd.example "$registry/other/tools@$digest" data
fact "oras attaches to the copy by cosign" succeeded
show sign "$registry/other/tools"
fact "then it can be signed" succeeded
finish
