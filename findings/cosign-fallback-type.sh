#!/usr/bin/env bash
# what: on a registry without referrers, oras does not find a bundle of cosign 3 by its type, as the index has another type
#
# Expected: where a registry has no referrers API, a client lists what it attached in an index under the tag
#     sha256-DIGEST, with the artifactType of each manifest, so that readers can filter by it.
# Is: cosign 3 writes the bundle's type into the manifest, and into its index entry the media type of the manifest's empty
#     configuration, application/vnd.oci.empty.v1+json. `oras discover` shows the bundle under this type, and
#     `--artifact-type` with the type of bundles finds none, though the manifest has that type.
# Versions: cosign 3.1.1-2, oras 1.3.3-1 (Debian sid), distribution 2.8.3 (Debian 13)
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"
need curl python3

distribution
debian sid cosign oras ca-certificates
versions "cosign $(package_version "$root" cosign), oras $(package_version "$root" oras)"

echo data > "$root/work/data"
inside "$root" oras push --plain-http "127.0.0.1:$port/team/tools:one" data > "$work/push"
digest=$(sed -n 's/^Digest: //p' "$work/push")
image=127.0.0.1:$port/team/tools@$digest
export COSIGN_PASSWORD=
inside "$root" cosign generate-key-pair > "$work/keys" 2>&1
show inside "$root" cosign sign --yes --key cosign.key --use-signing-config=false --tlog-upload=false --allow-http-registry "$image"
fact "cosign signs" succeeded

bundle=application/vnd.dev.sigstore.bundle.v0.3+json
# REFERENCE KIND: a manifest as the registry has it.
manifest() { curl -sSf -H "Accept: application/vnd.oci.image.$2.v1+json" "http://127.0.0.1:$port/v2/team/tools/manifests/$1"; }
show manifest "${digest/:/-}" index
fact "the index entry has the type of an empty configuration" output_has '"artifactType":"application/vnd.oci.empty.v1\+json"'
entry=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["manifests"][0]["digest"])' <<< "$shown")
show manifest "$entry" manifest
fact "the manifest has the type of a bundle" \
    python3 -c 'import json, sys; sys.exit(json.loads(sys.argv[1])["artifactType"] != sys.argv[2])' "$shown" "$bundle"
show inside "$root" oras discover --plain-http "$image"
fact "oras lists the bundle" output_has "$entry"
show inside "$root" oras discover --plain-http --artifact-type "$bundle" "$image"
fact "oras does not list it by the type of bundles" output_lacks "$entry"
finish
