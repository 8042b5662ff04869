//! Signing by key: each signature of cosign's "simple signing" annotates a layer at `sha256-<digits>.sig`.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bpfman_image_format::{Descriptor, Digest, ImageReference, SimpleSigningPayload, media, signature_tag};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::registry::Registry;
use crate::registry_connection::RegistryUse;
use crate::{KeyError, RegistryAccess, RegistryError, SigningKey};

/// Reason why an image was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The registry did not answer or did not accept the signature.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The manifest at the signature tag is not a list of signatures.
    #[error("{tag} holds something that is not a signature manifest, and is left alone: {why}")]
    Malformed {
        /// Signature tag.
        tag: String,
        /// Defect of the manifest.
        why: String,
    },
    #[error("{tag} already holds {count} signatures; at most {MAX_SIGNATURES} are read")]
    Full {
        /// Signature tag.
        tag: String,
        /// Number of signatures present.
        count: usize,
    },
}

pub(crate) const MAX_SIGNATURES: usize = 32;

/// Result of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignOutcome {
    /// A signature was added.
    Created,
    /// This key had signed the same payload before.
    Unchanged,
}

#[derive(Clone, Debug)]
pub struct SignedImage {
    /// Digest that was signed; of the index, if the name refers to one.
    pub digest: Digest,
    /// Tag that holds the signatures.
    pub tag: String,
    /// Fingerprint of the signing key.
    pub key: Digest,
    /// Result of signing.
    pub outcome: SignOutcome,
}

/// Step of signing. Each step waits for the registry; the signature itself takes no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignStep {
    /// Resolving the name to a digest.
    Resolve,
    /// Reading the existing signatures.
    ReadSignatures,
    /// Pushing the new signature.
    Push {
        /// Size of payload, configuration and manifest, in bytes.
        bytes: u64,
    },
}

impl SignStep {
    /// Number of steps.
    pub const COUNT: usize = 3;

    /// Returns the number of the step, from 1.
    #[must_use]
    pub const fn number(self) -> usize {
        match self {
            Self::Resolve => 1,
            Self::ReadSignatures => 2,
            Self::Push { .. } => 3,
        }
    }
}

/// Callback at the beginning of each step.
pub type SignProgress<'a> = &'a (dyn Fn(SignStep) + Send + Sync);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignatureManifest {
    pub(crate) layers: Vec<Descriptor>,
}

/// Adds a signature of the current image of `image` to the existing ones; that of an index covers its images.
pub async fn sign(
    image: &ImageReference,
    key: &SigningKey,
    annotations: &BTreeMap<String, String>,
    access: impl Into<RegistryAccess>,
) -> Result<SignedImage, SignError> {
    sign_in_steps(image, key, annotations, access, &|_| {}).await
}

/// Signs an image as [`sign`] does, and calls `progress` at the beginning of each step.
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

    // cosign writes an image without a platform and without dates, with one history entry per layer.
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
