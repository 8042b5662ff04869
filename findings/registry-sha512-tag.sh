#!/usr/bin/env bash
# what: a manifest pushed by its sha512 digest becomes a tag in go-containerregistry's registry, which crane cannot copy
#
# Expected: the image specification registers sha512, so a manifest that is pushed by such a digest is stored under it, or
#     refused. Distribution 2.8 refuses it (400 DIGEST_INVALID).
# Is: the registry of go-containerregistry, which many test set-ups use, answers 201 with a sha256 in
#     Docker-Content-Digest, and keeps "sha512:…" as the name of a tag, which the specification does not allow in a tag. The
#     list of tags has it from then on. `crane ls` prints it, and `crane copy --all-tags` of that repository ends with
#     "could not parse reference". skopeo 1.18 leaves it out of its lists silently, so that a sync has one
#     image less; skopeo 1.9 ended there. A pull by the digest works.
# Versions: go-containerregistry 0.22.1 (registry and crane), skopeo 1.18.0, distribution 2.8.3 (Debian 13)
# Seen: 2026-11-27
. "$(dirname "$0")/lib.sh"
need curl python3

distribution
other=$port
debian trixie skopeo
go_programs github.com/google/go-containerregistry/cmd/{crane,registry}@v0.22.1
crane=$PACKAGES/bin/crane
versions "go-containerregistry 0.22.1, $(inside "$root" skopeo --version)"

port=$(free_port)
serve "$port" "$PACKAGES/bin/registry" -port "$port"
here=127.0.0.1:$port/team/tools

# PORT: an artifact without content, under the tag `one` and by its sha512 digest.
empty=sha256:$(printf '{}' | sha256sum | cut -d' ' -f1)
manifest_type=application/vnd.oci.image.manifest.v1+json
descriptor="{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"$empty\",\"size\":2}"
cat > "$work/manifest" << JSON
{"schemaVersion":2,"mediaType":"$manifest_type","artifactType":"application/vnd.example","config":$descriptor,"layers":[$descriptor]}
JSON
digest=sha512:$(sha512sum "$work/manifest" | cut -d' ' -f1)
push() {
    local url=http://127.0.0.1:$1 upload reference
    upload=$(curl -sS -D - -o "$work/body" -X POST "$url/v2/team/tools/blobs/uploads/" | tr -d '\r' | sed -n 's/^Location: //pI')
    case $upload in /*) upload=$url$upload ;; esac
    case $upload in *\?*) upload+="&digest=$empty" ;; *) upload+="?digest=$empty" ;; esac
    curl -sSf -o "$work/body" -X PUT -H 'Content-Type: application/octet-stream' --data-binary '{}' "$upload"
    for reference in one "$digest"; do
        curl -sS -o "$work/body" -w "${reference:0:20}: %{http_code}, Docker-Content-Digest: %header{docker-content-digest}\n" -X PUT \
            -H "Content-Type: $manifest_type" --data-binary "@$work/manifest" "$url/v2/team/tools/manifests/$reference"
    done
}
echo "distribution:"
show push "$other"
fact "distribution refuses a manifest by sha512" output_has '^sha512:.*: 400'
echo "go-containerregistry:"
show push "$port"
fact "go-containerregistry's registry takes it, and answers with a sha256" output_has '^sha512:.*: 201, .*sha256:'
show "$crane" ls "$here"
fact "the digest is now a tag" output_has "^$digest\$"
show "$crane" manifest "$here@$digest"
fact "it can be pulled by the digest" succeeded
show "$crane" copy --all-tags "$here" "127.0.0.1:$other/team/copy"
fact "crane does not copy the repository" output_has 'could not parse reference'
show inside "$root" skopeo list-tags --tls-verify=false "docker://$here"
fact "skopeo does not list it" output_lacks 'sha512:'
fact "skopeo lists the other tag" output_has '"one"'
show inside "$root" skopeo sync --src docker --dest dir --src-tls-verify=false "$here" copies
fact "skopeo syncs one of two" output_has 'Synced 1 images'
finish
