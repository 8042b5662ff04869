//! Object and labels of an image, read from its registry, for tools that only inspect them.

use crate::registry::Registry;
use crate::registry_connection::RegistryUse;
use crate::{RegistryAccess, RegistryError};
use bpfman_image_format::layer::{self, LayerError};
use bpfman_image_format::manifest::{
    self, ImageConfig, ImageDocument, ImageManifest, MAX_INDEXES, ManifestError,
};
use bpfman_image_format::{
    BytecodeError, Descriptor, Digest, ImageReference, LabelError, Labels, Platform, check_object,
};

/// Reason why the object of an image is not available.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The registry did not return it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("{what} {}: {source}", if source.is_unsupported() { "is not supported" } else { "is malformed" })]
    Manifest {
        /// Name of the document.
        what: String,
        /// Defect of the document.
        source: ManifestError,
    },
    #[error("the image {image} is not for {wanted}; it is for {present}")]
    Platform {
        /// Name of the image.
        image: String,
        /// Requested platform.
        wanted: Platform,
        /// Platforms of the image.
        present: String,
    },
    /// The image is an index in an index, or has no layer.
    #[error("{what} is no bytecode image: it has {why}")]
    NotBytecode {
        /// Name of the document.
        what: String,
        /// Unexpected content.
        why: &'static str,
    },
    #[error("{what} {}: {source}", words_of(source))]
    Layer {
        /// Name of the layer.
        what: String,
        /// Cause of the failure.
        source: LayerError,
    },
    /// The labels are damaged.
    #[error("{image}: {source}")]
    Label {
        /// Name of the image.
        image: String,
        /// Defect of the label.
        source: LabelError,
    },
    #[error("the object in image {image}: {source}")]
    Bytecode {
        /// Name of the image.
        image: String,
        /// Defect of the object.
        source: BytecodeError,
    },
}

const fn words_of(error: &LayerError) -> &'static str {
    match error {
        LayerError::NoObject(_) => "holds no object file",
        LayerError::Unsupported(_) => "is not supported",
        LayerError::TooLarge(_) | LayerError::Malformed(_) => "is malformed",
    }
}

/// Object of an image.
#[derive(Clone, Debug)]
pub struct FetchedObject {
    /// Digest that the name refers to, of an index or a manifest.
    pub digest: Digest,
    /// Contents of the object file.
    pub bytes: Vec<u8>,
}

/// Labels of an image.
#[derive(Clone, Debug)]
pub struct FetchedLabels {
    /// Digest that the name refers to, of an index or a manifest.
    pub digest: Digest,
    /// Programs and maps, as in the labels.
    pub labels: Labels,
}

/// Reads the object of an image from its registry. Signatures are not verified, so it must not be loaded.
pub async fn fetch_object(
    image: &ImageReference,
    access: impl Into<RegistryAccess>,
    platform: Platform,
) -> Result<FetchedObject, FetchError> {
    let FoundImage { registry, digest, manifest } = find(image, access.into(), platform).await?;
    let (mut failure, mut bytes) = (None, 0_u64);
    for layer in manifest.objects() {
        bytes = bytes.saturating_add(layer.size);
        if bytes > LAYERS_LIMIT {
            break;
        }
        let content = registry.blob(layer).await?;
        match object_in(image, layer, &content) {
            Ok(bytes) => return Ok(FetchedObject { digest, bytes }),
            Err(
                error @ (FetchError::Bytecode { .. }
                | FetchError::Layer {
                    source: LayerError::NoObject(_) | LayerError::Unsupported(_),
                    ..
                }),
            ) => {
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| not_bytecode(image, digest, "no layer of a size that is read")))
}

fn object_in(image: &ImageReference, layer: &Descriptor, content: &[u8]) -> Result<Vec<u8>, FetchError> {
    let found = layer::decode(content).map_err(|source| FetchError::Layer {
        what: format!("the layer {} of {}", layer.digest, image.name()),
        source,
    })?;
    let name = found.name.as_deref().unwrap_or("the layer");
    check_object(name, &found.bytes)
        .map_err(|source| FetchError::Bytecode { image: image.to_string(), source })?;
    Ok(found.bytes)
}

/// Reads the labels of an image from its registry: its configuration only, no layer.
pub async fn fetch_labels(
    image: &ImageReference,
    access: impl Into<RegistryAccess>,
    platform: Platform,
) -> Result<FetchedLabels, FetchError> {
    let FoundImage { registry, digest, manifest } = find(image, access.into(), platform).await?;
    let mut labels = Labels::default();
    if manifest.has_labels() {
        let what = format!("the configuration {} of {}", manifest.config.digest, image.name());
        if manifest.config.size > CONFIG_LIMIT {
            return Err(not_bytecode(image, digest, "a configuration larger than 1 MiB"));
        }
        let content = registry.blob(&manifest.config).await?;
        let config = ImageConfig::parse(&content).map_err(|source| FetchError::Manifest { what, source })?;
        labels = Labels::read(&config.labels())
            .map_err(|source| FetchError::Label { image: image.to_string(), source })?;
    }
    Ok(FetchedLabels { digest, labels })
}

const LAYERS_LIMIT: u64 = 96 << 20;
const CONFIG_LIMIT: u64 = 1 << 20;

async fn find(
    image: &ImageReference,
    access: RegistryAccess,
    platform: Platform,
) -> Result<FoundImage, FetchError> {
    let registry = Registry::new(image, access, RegistryUse::Pull)?;
    let (bytes, digest) = registry.manifest(&image.target()).await?;
    if image.digest().is_some_and(|wanted| wanted != digest) {
        return Err(not_bytecode(image, digest, "not the digest that was asked for"));
    }
    let mut bytes = bytes;
    let (mut at, mut indexes) = (digest, 0);
    let manifest = loop {
        let entries = match parse(image, at, &bytes)? {
            ImageDocument::Image(manifest) => break manifest,
            ImageDocument::Index(_) if indexes == MAX_INDEXES => {
                return Err(not_bytecode(image, at, "indexes nested too deep"));
            }
            ImageDocument::Index(entries) => entries,
        };
        indexes += 1;
        let entry = manifest::choose(&entries, platform).ok_or_else(|| FetchError::Platform {
            image: image.to_string(),
            wanted: platform,
            present: manifest::platforms(&entries),
        })?;
        (bytes, at) = registry.manifest(&entry.digest.to_string()).await?;
    };
    Ok(FoundImage { registry, digest, manifest })
}

struct FoundImage {
    registry: Registry,
    digest: Digest,
    manifest: ImageManifest,
}

fn parse(image: &ImageReference, digest: Digest, bytes: &[u8]) -> Result<ImageDocument, FetchError> {
    manifest::parse(bytes)
        .map_err(|source| FetchError::Manifest { what: format!("{}@{digest}", image.name()), source })
}

fn not_bytecode(image: &ImageReference, digest: Digest, why: &'static str) -> FetchError {
    FetchError::NotBytecode { what: format!("{}@{digest}", image.name()), why }
}
