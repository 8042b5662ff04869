//! Media types and label names.

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index: one manifest per platform.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The four manifest types, for an `Accept` header. With `*/*`, some registries refuse OCI manifests.
pub const MANIFESTS: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

/// Configuration of an OCI image; holds the labels.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Configuration of a docker image; the same fields.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A gzip-compressed tar layer.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An uncompressed tar layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Docker's uncompressed tar layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Object file as a layer, by Inspektor Gadget ("gadget OCI image specification") and bumblebee (its `spec/`).
pub const OBJECTS: [&str; 2] =
    ["application/vnd.gadget.ebpf.program.v1+binary", "application/ebpf.oci.image.program.v1+binary"];

/// A layer that is the payload of a cosign "simple signing" signature.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Prefix of the media types of layers that are a Sigstore bundle.
pub const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Annotation of a simple signing layer: the signature over its bytes, in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// The `critical.type` of a simple signing payload.
pub const SIMPLE_SIGNING_TYPE: &str = "cosign container image signature";

/// Annotation of an entry in a layout's `index.json`: the name of the image.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Annotation of a layer: the name of the file in it.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Annotation of an index entry that is no image, but describes one (BuildKit's attestations).
pub const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Annotation of an entry in `index.json`: the full name of the image, for containerd and docker.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Annotation of an entry in `index.json`: cosign's kind of the entry.
pub const COSIGN_KIND: &str = "kind";

/// Label with the programs: a JSON object from function name to type.
pub const LABEL_PROGRAMS: &str = "io.ebpf.programs";
/// Label with the maps: a JSON object from map name to type.
pub const LABEL_MAPS: &str = "io.ebpf.maps";
/// Legacy label: name of the only program.
pub const LEGACY_PROGRAM_NAME: &str = "io.ebpf.program_name";
/// Legacy label: function of the only program.
pub const LEGACY_FUNCTION_NAME: &str = "io.ebpf.bpf_function_name";
/// Legacy label: type of the only program.
pub const LEGACY_PROGRAM_TYPE: &str = "io.ebpf.program_type";
/// Legacy label: file name of the object in the layer.
pub const LEGACY_FILENAME: &str = "io.ebpf.filename";
