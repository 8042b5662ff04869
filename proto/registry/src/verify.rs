//! Verification of signatures by key, without a daemon and its policy.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Descriptor, Digest, ImageReference, SimpleSigningPayload, media, signature_tag};

use crate::registry::Registry;
use crate::registry_connection::RegistryUse;
use crate::sign::{MAX_SIGNATURES, SignatureManifest};
use crate::{PublicKey, RegistryAccess, RegistryError};

/// Reason why no signature of a key was found.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The registry did not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("image {image} ({digest}) has no signature by a key: {tag} does not exist")]
    Unsigned {
        /// Image, by name.
        image: String,
        digest: Digest,
        /// Tag that would hold the signatures.
        tag: String,
    },
    /// The manifest at the signature tag is not a list of signatures.
    #[error("{tag} holds something that is not a signature manifest: {why}")]
    Malformed {
        /// Signature tag.
        tag: String,
        /// Defect of the manifest.
        why: String,
    },
    /// All signatures are by other keys, or for other images.
    #[error("none of the {count} signatures of image {image} ({digest}) is by key {key}")]
    OtherKey {
        /// Image, by name.
        image: String,
        digest: Digest,
        /// Fingerprint of the key.
        key: Digest,
        /// Number of signatures.
        count: usize,
    },
}

/// Image with a signature of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedDigest {
    /// Digest that was signed; of the index, if the name refers to one.
    pub digest: Digest,
    /// Fingerprint of the key.
    pub key: Digest,
}

/// Verifies that a key signed the current image of `image`, in cosign's "simple signing".
pub async fn verify_by_key(
    image: &ImageReference,
    key: &PublicKey,
    access: impl Into<RegistryAccess>,
) -> Result<SignedDigest, VerifyError> {
    let registry = Registry::new(image, access.into(), RegistryUse::Pull)?;
    let (_, digest) = registry.manifest(&image.target()).await?;
    let tag = signature_tag(digest);
    let bytes = match registry.manifest(&tag).await {
        Ok((bytes, _)) => bytes,
        Err(RegistryError::NotFound(_)) => {
            return Err(VerifyError::Unsigned { image: image.name(), digest, tag });
        }
        Err(error) => return Err(error.into()),
    };
    let manifest: SignatureManifest = serde_json::from_slice(&bytes)
        .map_err(|error| VerifyError::Malformed { tag, why: error.to_string() })?;
    for layer in manifest.layers.iter().take(MAX_SIGNATURES) {
        if is_by(&registry, layer, key, digest).await? {
            return Ok(SignedDigest { digest, key: key.fingerprint() });
        }
    }
    let (image, count) = (image.name(), manifest.layers.len());
    Err(VerifyError::OtherKey { image, digest, key: key.fingerprint(), count })
}

async fn is_by(
    registry: &Registry,
    layer: &Descriptor,
    key: &PublicKey,
    digest: Digest,
) -> Result<bool, RegistryError> {
    let signature = layer.annotations.get(media::SIGNATURE_ANNOTATION);
    let Some(signature) = signature.and_then(|text| BASE64_STANDARD.decode(text).ok()) else {
        return Ok(false);
    };
    let payload = registry.blob(layer).await?;
    let names_digest = |payload: SimpleSigningPayload| {
        payload.critical.kind == media::SIMPLE_SIGNING_TYPE
            && payload.critical.image.docker_manifest_digest == digest.to_string()
    };
    Ok(key.made(&payload, &signature) && serde_json::from_slice(&payload).is_ok_and(names_digest))
}
