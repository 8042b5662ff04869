//! Document of cosign's "simple signing", which a signature by key covers, and the tags for signatures and
//! referrers of an image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, media};

/// Returns the tag that holds the signatures of `digest`.
#[must_use]
pub fn signature_tag(digest: Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// Returns the tag that lists the referrers of `digest`, in registries without a referrers API (OCI distribution 1.1).
#[must_use]
pub fn referrers_tag(digest: Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// Signed document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimpleSigningPayload {
    /// Signed content.
    pub critical: Critical,
    /// Annotations of the signer.
    #[serde(default)]
    pub optional: Option<BTreeMap<String, serde_json::Value>>,
}

/// Part of the payload that a signature binds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Critical {
    /// Repository, as named by the signer.
    pub identity: SignedIdentity,
    /// Signed image.
    pub image: Image,
    /// Always [`media::SIMPLE_SIGNING_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
}

/// Repository, as named by the signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIdentity {
    /// `registry/repository`.
    #[serde(rename = "docker-reference")]
    pub docker_reference: String,
}

/// The image that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the manifest or index.
    #[serde(rename = "docker-manifest-digest")]
    pub docker_manifest_digest: String,
}

impl SimpleSigningPayload {
    /// Creates the payload for an image; `annotations` may be empty.
    #[must_use]
    pub fn new(repository: &str, digest: Digest, annotations: &BTreeMap<String, String>) -> Self {
        let optional: BTreeMap<_, _> =
            annotations.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        Self {
            critical: Critical {
                identity: SignedIdentity { docker_reference: repository.to_owned() },
                image: Image { docker_manifest_digest: digest.to_string() },
                kind: media::SIMPLE_SIGNING_TYPE.to_owned(),
            },
            optional: (!optional.is_empty()).then_some(optional),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_byte_for_byte_what_cosign_signs() {
        let digest = Digest::of(b"");
        let text = serde_json::to_string(&SimpleSigningPayload::new("quay.io/a/b", digest, &BTreeMap::new()))
            .unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"quay.io/a/b"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
            )
        );
    }
}
