//! The object of an image, straight out of its registry: for tools that only look at it.

use crate::layer::{self, LayerError};
use crate::manifest::{self, ImageDocument, ManifestError};
use crate::registry::Registry;
use crate::registry_connection::RegistryUse;
use crate::{BytecodeError, Digest, ImageReference, Platform, RegistryAccess, RegistryError, check_object};

/// Why the object of an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The registry did not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A manifest or index cannot be read.
    #[error("{what} is malformed: {source}")]
    Manifest {
        /// Which document.
        what: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// It is not built for this platform.
    #[error("the image {image} is not for {wanted}; it is for {present}")]
    Platform {
        /// The image.
        image: String,
        /// What was asked for.
        wanted: Platform,
        /// What it has.
        present: String,
    },
    /// An index in an index, or no layer at all.
    #[error("{what} is no bytecode image: it has {why}")]
    NotBytecode {
        /// Which document.
        what: String,
        /// What it has.
        why: &'static str,
    },
    /// The layer holds no object.
    #[error("{what} is malformed: {source}")]
    Layer {
        /// Which layer.
        what: String,
        /// What is wrong with it.
        source: LayerError,
    },
    /// The object is none.
    #[error("the object in image {image}: {source}")]
    Bytecode {
        /// The image.
        image: String,
        /// What is wrong with it.
        source: BytecodeError,
    },
}

/// The object of an image.
#[derive(Clone, Debug)]
pub struct FetchedObject {
    /// What the name led to, an index or a manifest.
    pub digest: Digest,
    /// The object file.
    pub bytes: Vec<u8>,
}

/// Reads the object of an image from its registry. Nobody's signature is looked at, so nothing may be loaded of it.
///
/// # Errors
/// [`FetchError`]: the registry does not give it, or it is no bytecode image for `platform`.
pub async fn fetch_object(
    image: &ImageReference,
    access: impl Into<RegistryAccess>,
    platform: Platform,
) -> Result<FetchedObject, FetchError> {
    let registry = Registry::new(image, access.into(), RegistryUse::Pull)?;
    let (bytes, digest) = registry.manifest(&image.target()).await?;
    if image.digest().is_some_and(|wanted| wanted != digest) {
        return Err(not_bytecode(image, digest, "not the digest that was asked for"));
    }
    let manifest = match parse(image, digest, &bytes)? {
        ImageDocument::Image(manifest) => manifest,
        ImageDocument::Index(entries) => {
            let entry = manifest::choose(&entries, platform).ok_or_else(|| FetchError::Platform {
                image: image.to_string(),
                wanted: platform,
                present: manifest::platforms(&entries),
            })?;
            let (bytes, digest) = registry.manifest(&entry.digest.to_string()).await?;
            match parse(image, digest, &bytes)? {
                ImageDocument::Image(manifest) if digest == entry.digest => manifest,
                _ => return Err(not_bytecode(image, entry.digest, "another document, or an index, within")),
            }
        }
    };
    let layer = manifest.object().ok_or_else(|| not_bytecode(image, digest, "no layer"))?;
    let content = registry.blob(layer).await?;
    let found = layer::decode(content.as_slice()).map_err(|source| FetchError::Layer {
        what: format!("the layer {} of {}", layer.digest, image.name()),
        source,
    })?;
    let name = found.name.as_deref().unwrap_or("the layer");
    check_object(name, &found.bytes)
        .map_err(|source| FetchError::Bytecode { image: image.to_string(), source })?;
    Ok(FetchedObject { digest, bytes: found.bytes })
}

fn parse(image: &ImageReference, digest: Digest, bytes: &[u8]) -> Result<ImageDocument, FetchError> {
    manifest::parse(bytes)
        .map_err(|source| FetchError::Manifest { what: format!("{}@{digest}", image.name()), source })
}

fn not_bytecode(image: &ImageReference, digest: Digest, why: &'static str) -> FetchError {
    FetchError::NotBytecode { what: format!("{}@{digest}", image.name()), why }
}
