//! Manifests, indexes and configurations, as far as bytecode images use them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Descriptor, Digest, Platform, media};

/// A manifest of one image, or an index of several.
#[derive(Debug, Serialize, Deserialize)]
pub enum ImageDocument {
    /// Manifest of one image.
    Image(ImageManifest),
    /// Manifests of several platforms.
    Index(Vec<Descriptor>),
}

/// Manifest of one image.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImageManifest {
    /// Configuration, which has the labels.
    pub config: Descriptor,
    /// Layers; a bytecode image has one.
    pub layers: Vec<Descriptor>,
}

/// `urls` of descriptors are ignored: content comes from the registry that the user named.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// Reason why a document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("it is not a JSON object")]
    NotObject,
    /// The document is no JSON, or a field has another type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("its schemaVersion is not 2")]
    SchemaVersion,
    #[error("its media type is `{0}`")]
    MediaType(String),
    /// The document is both a manifest and an index: two readers could see different images in it.
    #[error("it is a manifest and an index at once")]
    Both,
    #[error("it has no config and layers")]
    Neither,
    /// The media type is that of the other kind of document.
    #[error("its media type does not fit its content")]
    Misnamed,
    /// A digest uses an algorithm that the specification allows and this crate does not support.
    #[error("it names content by {0}, and only sha256 is supported")]
    Algorithm(String),
}

impl ManifestError {
    /// Returns whether the document is valid, but of a kind that is not supported.
    #[must_use]
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Algorithm(_))
    }
}

/// Parses a JSON object without duplicate fields. Serde alone would also accept an array.
pub fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ManifestError> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(ManifestError::NotObject);
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Parses a manifest or index.
pub fn parse(bytes: &[u8]) -> Result<ImageDocument, ManifestError> {
    let raw: Raw = object(bytes).map_err(|error| other_algorithm(bytes).unwrap_or(error))?;
    if raw.schema_version != Some(2) {
        return Err(ManifestError::SchemaVersion);
    }
    if let Some(kind) = &raw.media_type
        && !media::MANIFESTS.contains(&kind.as_str())
    {
        return Err(ManifestError::MediaType(kind.clone()));
    }
    let says_index =
        raw.media_type.as_deref().map(|kind| matches!(kind, media::OCI_INDEX | media::DOCKER_INDEX));
    match (raw.manifests, raw.config, raw.layers) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(ManifestError::Both),
        (Some(manifests), None, None) if says_index != Some(false) => Ok(ImageDocument::Index(manifests)),
        (None, Some(config), Some(layers)) if says_index != Some(true) => {
            Ok(ImageDocument::Image(ImageManifest { config, layers }))
        }
        (None, _, _) => Err(ManifestError::Neither),
        _ => Err(ManifestError::Misnamed),
    }
}

fn other_algorithm(bytes: &[u8]) -> Option<ManifestError> {
    let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let list = |name: &str| document.get(name).and_then(serde_json::Value::as_array).into_iter().flatten();
    let mut named = list("layers").chain(list("manifests")).chain(document.get("config"));
    named.find_map(|descriptor| {
        let error = descriptor.get("digest")?.as_str()?.parse::<Digest>().err()?;
        error.algorithm().map(|algorithm| ManifestError::Algorithm(algorithm.to_owned()))
    })
}

/// Maximum number of layers of one image that are searched.
pub const MAX_LAYERS: usize = 8;

impl ImageManifest {
    /// Returns the layers that may have the object file, the likeliest first: by media type, then by title.
    pub fn objects(&self) -> Vec<&Descriptor> {
        let is_titled = |layer: &Descriptor| {
            layer.annotations.get(media::TITLE).is_some_and(|title| title.ends_with(".o"))
        };
        let rank = |layer: &&Descriptor| match layer {
            layer if media::OBJECTS.contains(&layer.media_type.as_str()) => 0,
            layer if is_titled(layer) => 1,
            _ => 2,
        };
        let mut layers: Vec<&Descriptor> = Vec::new();
        for layer in &self.layers {
            if layers.iter().all(|known| known.digest != layer.digest) {
                layers.push(layer);
            }
        }
        layers.sort_by_key(rank);
        layers.truncate(MAX_LAYERS);
        layers
    }

    /// Returns whether the configuration can hold labels. Other tools have configurations of their own.
    pub fn has_labels(&self) -> bool {
        matches!(self.config.media_type.as_str(), media::OCI_CONFIG | media::DOCKER_CONFIG)
    }
}

/// Maximum depth of indexes within indexes.
pub const MAX_INDEXES: usize = 3;

/// Returns the entry of an index for `platform`; without any platforms, the only image.
pub fn choose(entries: &[Descriptor], platform: Platform) -> Option<&Descriptor> {
    let fits = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|field| field.os == platform.os() && field.architecture == platform.architecture())
    };
    entries.iter().find(fits).or_else(|| {
        let mut images = entries.iter().filter(|entry| is_image(entry));
        let only = images.next()?;
        let is_same = |other: &Descriptor| other.platform.is_none() && other.digest == only.digest;
        let is_only = only.platform.is_none() && images.all(is_same);
        is_only.then_some(only)
    })
}

fn is_image(entry: &Descriptor) -> bool {
    let is_unknown = entry.platform.as_ref().is_some_and(|field| field.os == "unknown");
    let is_artifact = entry.other.get("artifactType").is_some_and(|kind| !kind.is_null());
    media::MANIFESTS.contains(&entry.media_type.as_str())
        && !is_unknown
        && !is_artifact
        && !entry.annotations.contains_key(media::DOCKER_REFERENCE_TYPE)
}

/// Returns the platforms of an index as text.
pub fn platforms(entries: &[Descriptor]) -> String {
    let images: Vec<&Descriptor> = entries.iter().filter(|entry| is_image(entry)).collect();
    let fields = images.iter().filter_map(|entry| entry.platform.as_ref());
    let mut present: Vec<String> =
        fields.map(|field| format!("{}/{}", field.os, field.architecture)).collect();
    let unsaid = images.len() - present.len();
    if unsaid > 0 {
        present.push(format!("{unsaid} that name no platform"));
    }
    if present.is_empty() { "none".to_owned() } else { present.join(", ") }
}

/// Configuration of an image.
#[derive(Debug, Default, Deserialize)]
pub struct ImageConfig {
    #[serde(default)]
    /// Architecture, by Go's name.
    pub architecture: String,
    #[serde(default)]
    config: Option<Inner>,
}

#[derive(Debug, Default, Deserialize)]
struct Inner {
    #[serde(default, rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

impl ImageConfig {
    /// Parses a configuration.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        object(bytes)
    }

    #[must_use]
    pub fn labels(self) -> BTreeMap<String, String> {
        self.config.and_then(|inner| inner.labels).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn descriptor(architecture: Option<&str>) -> serde_json::Value {
        let mut descriptor = json!({
            "mediaType": media::OCI_MANIFEST,
            "digest": crate::Digest::of(b""),
            "size": 0,
            "urls": ["http://example.com/elsewhere"],
        });
        if let Some(architecture) = architecture {
            descriptor["platform"] = json!({ "os": "linux", "architecture": architecture, "variant": "v8" });
        }
        descriptor
    }

    fn read(document: &serde_json::Value) -> Result<ImageDocument, ManifestError> {
        parse(document.to_string().as_bytes())
    }

    #[test]
    fn manifest_and_index_are_distinguished() {
        let one = descriptor(None);
        let manifest = json!({ "schemaVersion": 2, "config": one, "layers": [one] });
        assert!(matches!(read(&manifest), Ok(ImageDocument::Image(_))));
        let index = json!({ "schemaVersion": 2, "mediaType": media::DOCKER_INDEX, "manifests": [one] });
        assert!(matches!(read(&index), Ok(ImageDocument::Index(_))));
    }

    #[test]
    fn manifest_that_is_both_or_neither_is_refused() {
        let one = descriptor(None);
        for document in [
            json!({ "schemaVersion": 2, "config": one, "layers": [one], "manifests": [one] }),
            json!({ "schemaVersion": 2, "layers": [one], "manifests": [one] }),
            json!({ "schemaVersion": 2 }),
            json!({ "schemaVersion": 1, "config": one, "layers": [one] }),
            json!({ "config": one, "layers": [one] }),
            json!({ "schemaVersion": 2, "mediaType": "text/plain", "config": one, "layers": [one] }),
            json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "config": one, "layers": [one] }),
            json!({ "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "manifests": [one] }),
            json!([]),
            json!([2, media::OCI_MANIFEST, null, one, [one]]),
        ] {
            assert!(read(&document).is_err(), "{document}");
        }
        let twice = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(parse(twice.as_bytes()).unwrap_err().to_string().contains("duplicate"));
    }

    #[test]
    fn index_entry_is_chosen_by_platform() {
        let entries: Vec<Descriptor> =
            [descriptor(None), descriptor(Some("arm64")), descriptor(Some("amd64"))]
                .into_iter()
                .map(|value| serde_json::from_value(value).unwrap())
                .collect();
        let amd64 = Platform::from_architecture("amd64").unwrap();
        assert_eq!(choose(&entries, amd64).unwrap(), &entries[2]);
        assert_eq!(choose(&entries[..2], amd64), None);
        assert_eq!(platforms(&entries[..2]), "linux/arm64, 1 that name no platform");
        assert_eq!(choose(&[], amd64), None);
        assert_eq!(choose(&entries[..1], amd64), Some(&entries[0]));
        let attestation = Descriptor {
            platform: serde_json::from_value(json!({ "os": "unknown", "architecture": "unknown" })).unwrap(),
            digest: Digest::of(b"attestation"),
            ..entries[0].clone()
        };
        assert_eq!(choose(&[attestation, entries[0].clone()], amd64), Some(&entries[0]));
        let other = Descriptor { digest: Digest::of(b"other"), ..entries[0].clone() };
        let two = [entries[0].clone(), other];
        assert_eq!(choose(&two, amd64), None);
        assert_eq!(platforms(&two), "2 that name no platform");
        assert_eq!(platforms(&[]), "none");
    }

    #[test]
    fn layer_with_the_object_comes_first() {
        let layer = |content: &[u8], kind: &str, title: &str| {
            let mut layer = Descriptor::of(kind, content);
            layer.annotations.insert(media::TITLE.to_owned(), title.to_owned());
            layer
        };
        let (readme, plain) = (layer(b"1", "text/markdown", "README.md"), layer(b"2", media::OCI_LAYER, ""));
        let (titled, typed) = (layer(b"3", "a/b", "x.o"), layer(b"4", media::OBJECTS[0], "gadget"));
        let manifest = |layers: &[&Descriptor]| ImageManifest {
            config: readme.clone(),
            layers: layers.iter().map(|layer| (*layer).clone()).collect(),
        };
        let all = manifest(&[&readme, &plain, &plain, &titled, &typed]);
        assert_eq!(all.objects(), [&typed, &titled, &readme, &plain]);
        assert!(manifest(&[]).objects().is_empty());
        let many: Vec<_> = (0..20_u8).map(|n| Descriptor::of(media::OCI_LAYER, &[n])).collect();
        assert_eq!(manifest(&many.iter().collect::<Vec<_>>()).objects().len(), MAX_LAYERS);
    }

    #[test]
    fn digest_by_another_algorithm_is_not_malformed() {
        let long = format!("sha512:{}", "a".repeat(128));
        let other = json!({ "mediaType": media::OCI_LAYER, "digest": long, "size": 1 });
        let one = descriptor(None);
        for document in [
            json!({ "schemaVersion": 2, "config": one, "layers": [other] }),
            json!({ "schemaVersion": 2, "config": other, "layers": [one] }),
            json!({ "schemaVersion": 2, "manifests": [one, other] }),
        ] {
            let error = read(&document).unwrap_err();
            assert!(error.is_unsupported() && error.to_string().contains("sha512"), "{error}");
        }
        let garbage = json!({ "mediaType": media::OCI_LAYER, "digest": "sha256:../x", "size": 1 });
        let error = read(&json!({ "schemaVersion": 2, "config": one, "layers": [garbage] })).unwrap_err();
        assert!(!error.is_unsupported(), "{error}");
    }
}
