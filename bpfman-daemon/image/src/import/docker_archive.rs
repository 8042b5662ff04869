//! Archives of docker and podman. A manifest is created for each image: no signature covers its digest.

use std::sync::Arc;

use bpfman_image_format::{Descriptor, Digest, media};
use serde::Deserialize;
use serde_json::json;

use super::copying::Copied;
use crate::ImageError;
use crate::staging::Staging;

const MAX_IMAGES: usize = 64;
const MAX_LAYERS: usize = 128;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

pub(super) fn entries(copied: &Copied, staging: &Arc<Staging>) -> Result<Vec<Descriptor>, ImageError> {
    let malformed = |why: String| ImageError::Malformed {
        what: format!("manifest.json in {}", copied.shown),
        source: why.into(),
    };
    let images: Vec<SavedImage> = serde_json::from_slice(copied.docker.as_deref().unwrap_or_default())
        .map_err(|error| malformed(error.to_string()))?;
    if images.len() > MAX_IMAGES || images.iter().any(|image| image.layers.len() > MAX_LAYERS) {
        return Err(malformed(format!("it has more than {MAX_IMAGES} images, or {MAX_LAYERS} layers")));
    }
    let file = |name: &str, kind: &str| {
        let blob = name.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok());
        let named = copied.file(name.trim_start_matches("./"));
        let size = |digest: Digest| staging.size(digest).map(|size| (digest, size));
        let (digest, size) = named
            .or_else(|| blob.and_then(size))
            .ok_or_else(|| malformed(format!("it names {name}, which the archive does not have")))?;
        Ok(Descriptor { digest, size, ..Descriptor::of(kind, b"") })
    };
    let mut entries = Vec::new();
    for image in images {
        let config = file(&image.config, media::DOCKER_CONFIG)?;
        let layers = image.layers.iter().map(|layer| file(layer, media::DOCKER_LAYER));
        let layers = layers.collect::<Result<Vec<_>, ImageError>>()?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::DOCKER_MANIFEST, "config": config, "layers": layers,
        });
        let manifest = manifest.to_string().into_bytes();
        staging.put_unbounded(&manifest)?;
        let entry = Descriptor::of(media::DOCKER_MANIFEST, &manifest);
        let names = image.repo_tags.unwrap_or_default();
        if names.is_empty() {
            entries.push(entry.clone());
        }
        for name in names {
            let mut named = entry.clone();
            named.annotations.insert(media::REF_NAME.to_owned(), name);
            entries.push(named);
        }
    }
    Ok(entries)
}
