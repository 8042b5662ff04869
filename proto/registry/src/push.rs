use serde::Deserialize;

use crate::registry::Registry;
use crate::registry_connection::RegistryUse;
use crate::{RegistryAccess, RegistryError};
use bpfman_image_format::{
    Descriptor, Digest, ImageReference, LayoutError, OciLayout, TransferProgress, media,
};

/// Reason why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The layout cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The registry did not accept it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the manifest {digest} in the layout is malformed: {why}")]
    Malformed {
        /// Digest of the manifest.
        digest: Digest,
        /// Defect of the manifest.
        why: String,
    },
    #[error("an image is pushed to a tag, not to a digest: `{0}`")]
    Digest(ImageReference),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

const DEPTH: usize = 3;

/// Pushes the image `name` of `layout` to `target`, its tag last so that it is complete; returns its digest.
pub async fn push(
    layout: &OciLayout,
    name: &str,
    target: &ImageReference,
    access: impl Into<RegistryAccess>,
    progress: Option<TransferProgress<'_>>,
) -> Result<Digest, PushError> {
    if target.digest().is_some() {
        return Err(PushError::Digest(target.clone()));
    }
    let root = layout.image(name)?;
    let (mut blobs, mut manifests) = (Vec::new(), Vec::new());
    collect(layout, &root, DEPTH, &mut blobs, &mut manifests)?;
    let total: u64 = blobs.iter().map(|blob: &Descriptor| blob.size).sum();
    let report = |done| {
        if let Some(progress) = progress {
            progress(done, total);
        }
    };
    let registry = Registry::new(target, access.into(), RegistryUse::Push)?;
    let mut done = 0;
    report(done);
    for blob in &blobs {
        registry.push_blob(blob.digest, layout.get(blob)?).await?;
        done += blob.size;
        report(done);
    }
    for (descriptor, bytes) in manifests {
        let place =
            if descriptor.digest == root.digest { target.target() } else { descriptor.digest.to_string() };
        registry.push_manifest(&place, &descriptor.media_type, bytes).await?;
    }
    Ok(root.digest)
}

fn collect(
    layout: &OciLayout,
    at: &Descriptor,
    depth: usize,
    blobs: &mut Vec<Descriptor>,
    manifests: &mut Vec<(Descriptor, Vec<u8>)>,
) -> Result<(), PushError> {
    let malformed = |why: String| PushError::Malformed { digest: at.digest, why };
    let bytes = layout.get(at)?;
    let document: Document = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
    let is_index = matches!(at.media_type.as_str(), media::OCI_INDEX | media::DOCKER_INDEX);
    if is_index {
        let depth = depth.checked_sub(1).ok_or_else(|| malformed("indexes nested too deep".to_owned()))?;
        for child in &document.manifests {
            collect(layout, child, depth, blobs, manifests)?;
        }
    } else {
        let config = document.config.ok_or_else(|| malformed("it has no config".to_owned()))?;
        for blob in std::iter::once(config).chain(document.layers) {
            if blobs.iter().all(|known| known.digest != blob.digest) {
                blobs.push(blob);
            }
        }
    }
    if manifests.iter().all(|(known, _)| known.digest != at.digest) {
        manifests.push((at.clone(), bytes));
    }
    Ok(())
}
