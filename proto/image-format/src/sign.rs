//! Signs images by key, in the form that cosign calls "simple signing": a manifest at the tag
//! `sha256-<digits>.sig`, one layer a signature, the signature in an annotation of the layer.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::registry::Registry;
use crate::registry_connection::RegistryUse;
use crate::{Descriptor, Digest, ImageReference, KeyError, RegistryAccess, RegistryError, SigningKey, media};

/// Why an image was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The registry did not answer or did not take the signature.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What stands at the signature tag is not a list of signatures.
    #[error("{tag} holds something that is not a signature manifest, and is left alone: {why}")]
    Malformed {
        /// The tag.
        tag: String,
        /// The reason.
        why: String,
    },
    /// The list of signatures is full.
    #[error("{tag} already holds {count} signatures; at most {MAX_SIGNATURES} are read")]
    Full {
        /// The tag.
        tag: String,
        /// Signatures present.
        count: usize,
    },
}

/// Signatures read from one tag.
const MAX_SIGNATURES: usize = 32;

/// What signing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignOutcome {
    /// A signature was added.
    Created,
    /// This key had signed the same payload before.
    Unchanged,
}

/// A signed image.
#[derive(Clone, Debug)]
pub struct SignedImage {
    /// Digest that was signed: of the index, where the name leads to one.
    pub digest: Digest,
    /// Tag that holds the signatures.
    pub tag: String,
    /// Digest of the signing key's public half.
    pub key: Digest,
    /// Whether anything was added.
    pub outcome: SignOutcome,
}

/// What a signing does at one time. Each step waits for the registry; the signature itself takes no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignStep {
    /// It asks which digest the name has.
    Resolve,
    /// It reads the signatures that are there.
    ReadSignatures,
    /// It pushes the new signature.
    Push {
        /// All that is pushed: payload, configuration and manifest.
        bytes: u64,
    },
}

impl SignStep {
    /// How many steps there are.
    pub const COUNT: usize = 3;

    /// Which step it is, from 1 on.
    #[must_use]
    pub const fn number(self) -> usize {
        match self {
            Self::Resolve => 1,
            Self::ReadSignatures => 2,
            Self::Push { .. } => 3,
        }
    }
}

/// Told which step of a signing begins.
pub type SignProgress<'a> = &'a (dyn Fn(SignStep) + Send + Sync);

/// The tag that holds the signatures of `digest`.
#[must_use]
pub fn signature_tag(digest: Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// The tag that lists what refers to `digest`, in registries without a list of their own (OCI distribution 1.1).
#[must_use]
pub fn referrers_tag(digest: Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// The signed document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimpleSigningPayload {
    /// What the signature is about.
    pub critical: Critical,
    /// Annotations of the signer.
    #[serde(default)]
    pub optional: Option<BTreeMap<String, serde_json::Value>>,
}

/// The part of the payload that binds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Critical {
    /// The repository that the signer meant.
    pub identity: SignedIdentity,
    /// The image.
    pub image: Image,
    /// Always [`media::SIMPLE_SIGNING_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
}

/// The repository that the signer meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIdentity {
    /// `registry/repository`.
    #[serde(rename = "docker-reference")]
    pub docker_reference: String,
}

/// The image that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Digest of its manifest or index.
    #[serde(rename = "docker-manifest-digest")]
    pub docker_manifest_digest: String,
}

impl SimpleSigningPayload {
    /// The payload for an image; `annotations` may be empty.
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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignatureManifest {
    layers: Vec<Descriptor>,
}

/// Signs the image that `image` names, as the registry has it at this moment, and adds the signature to those
/// that are there. Signs an index as such; its members are reached through it.
pub async fn sign(
    image: &ImageReference,
    key: &SigningKey,
    annotations: &BTreeMap<String, String>,
    access: impl Into<RegistryAccess>,
) -> Result<SignedImage, SignError> {
    sign_in_steps(image, key, annotations, access, &|_| {}).await
}

/// The same, and `progress` is told which step begins.
///
/// # Errors
/// [`SignError`]: the key is none, the registry does not take the signature, or the list of signatures is none or full.
pub async fn sign_in_steps(
    image: &ImageReference,
    key: &SigningKey,
    annotations: &BTreeMap<String, String>,
    access: impl Into<RegistryAccess>,
    progress: SignProgress<'_>,
) -> Result<SignedImage, SignError> {
    let registry = Registry::new(image, access.into(), RegistryUse::Push)?;
    progress(SignStep::Resolve);
    let (_, digest) = registry.manifest(&image.target()).await?;
    let public = key.public_key()?;
    let tag = signature_tag(digest);
    let malformed = |why: String| SignError::Malformed { tag: tag.clone(), why };
    let payload = SimpleSigningPayload::new(&registry.image().name(), digest, annotations);
    let payload = serde_json::to_vec(&payload).map_err(|e| malformed(e.to_string()))?;
    let mut layer = Descriptor::of(media::SIMPLE_SIGNING, &payload);

    progress(SignStep::ReadSignatures);
    let mut layers = match registry.manifest(&tag).await {
        Ok((bytes, _)) => {
            serde_json::from_slice::<SignatureManifest>(&bytes).map_err(|e| malformed(e.to_string()))?.layers
        }
        Err(RegistryError::NotFound(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let signed = |outcome| SignedImage { digest, tag: tag.clone(), key: public.fingerprint(), outcome };
    let is_ours = |other: &Descriptor| {
        let signature = other.annotations.get(media::SIGNATURE_ANNOTATION);
        other.digest == layer.digest
            && signature
                .and_then(|text| BASE64_STANDARD.decode(text).ok())
                .is_some_and(|signature| public.made(&payload, &signature))
    };
    if layers.iter().any(is_ours) {
        return Ok(signed(SignOutcome::Unchanged));
    }
    if layers.len() >= MAX_SIGNATURES {
        return Err(SignError::Full { tag, count: layers.len() });
    }
    let signature = BASE64_STANDARD.encode(key.sign(&payload)?);
    layer.annotations.insert(media::SIGNATURE_ANNOTATION.to_owned(), signature);
    let payload_digest = layer.digest;
    layers.push(layer);

    // The shape that cosign writes: an image of no platform, one history entry a layer, no dates.
    let never = "0001-01-01T00:00:00Z";
    let config = json!({
        "architecture": "",
        "created": never,
        "history": vec![json!({ "created": never }); layers.len()],
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest).collect::<Vec<_>>() },
        "config": {},
    });
    let config = config.to_string().into_bytes();
    let descriptor = Descriptor::of(media::OCI_CONFIG, &config);
    let config_digest = descriptor.digest;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": descriptor,
        "layers": layers,
    });
    let manifest = manifest.to_string().into_bytes();
    progress(SignStep::Push { bytes: (payload.len() + config.len() + manifest.len()) as u64 });
    registry.push_blob(payload_digest, payload).await?;
    registry.push_blob(config_digest, config).await?;
    registry.push_manifest(&tag, media::OCI_MANIFEST, manifest).await?;
    Ok(signed(SignOutcome::Created))
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
