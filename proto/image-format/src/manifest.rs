//! Manifests, indexes and configurations, as far as bytecode images use them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Descriptor, Platform, media};

/// A manifest of one image, or an index of several.
#[derive(Debug, Serialize, Deserialize)]
pub enum ImageDocument {
    /// One image.
    Image(ImageManifest),
    /// Images of several platforms.
    Index(Vec<Descriptor>),
}

/// A manifest of one image.
#[derive(Debug, Serialize, Deserialize)]
pub struct ImageManifest {
    /// The configuration, which has the labels.
    pub config: Descriptor,
    /// The layers; a bytecode image has one.
    pub layers: Vec<Descriptor>,
}

/// Everything either document may have. Descriptors carry no `urls`: content comes from the registry that was
/// named, never from an address that a manifest chose.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// Why a document is none that is read here.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Another kind of value, or no JSON.
    #[error("it is not a JSON object")]
    NotObject,
    /// No JSON, or a field of another type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Another version of the format.
    #[error("its schemaVersion is not 2")]
    SchemaVersion,
    /// It says that it is something else.
    #[error("its media type is `{0}`")]
    MediaType(String),
    /// Two readers could see two images in a document that is both.
    #[error("it is a manifest and an index at once")]
    Both,
    /// Neither a manifest nor an index.
    #[error("it has no config and layers")]
    Neither,
    /// It says that it is the other one.
    #[error("its media type does not fit its content")]
    Misnamed,
}

/// Reads a JSON object. Serde would also take an array, with the fields in order: other readers would not.
/// Fields that stand there twice are refused by serde.
pub fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ManifestError> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(ManifestError::NotObject);
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Reads a manifest or index.
pub fn parse(bytes: &[u8]) -> Result<ImageDocument, ManifestError> {
    let raw: Raw = object(bytes)?;
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

impl ImageManifest {
    /// The layer with the object file: of a type that says so, else the first, which is the only one of the format.
    pub fn object(&self) -> Option<&Descriptor> {
        let says_so = |layer: &&Descriptor| media::OBJECTS.contains(&layer.media_type.as_str());
        self.layers.iter().find(says_so).or_else(|| self.layers.first())
    }

    /// True if the configuration is one that can hold labels; other tools have configurations of their own.
    pub fn has_labels(&self) -> bool {
        matches!(self.config.media_type.as_str(), media::OCI_CONFIG | media::DOCKER_CONFIG)
    }
}

/// The entry of an index for `platform`.
pub fn choose(entries: &[Descriptor], platform: Platform) -> Option<&Descriptor> {
    let fits = |entry: &&Descriptor| {
        entry
            .platform
            .as_ref()
            .is_some_and(|field| field.os == platform.os() && field.architecture == platform.architecture())
    };
    entries.iter().find(fits)
}

/// The platforms that an index has images for, in words.
pub fn platforms(entries: &[Descriptor]) -> String {
    let present: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .map(|field| format!("{}/{}", field.os, field.architecture))
        .collect();
    if present.is_empty() { "no image with a platform".to_owned() } else { present.join(", ") }
}

/// An image's configuration.
#[derive(Debug, Default, Deserialize)]
pub struct ImageConfig {
    #[serde(default)]
    /// By Go's name.
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
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        object(bytes)
    }

    /// What it says of programs and maps, and other labels.
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
    fn manifest_and_index_are_told_apart() {
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
        assert_eq!(platforms(&entries[..2]), "linux/arm64");
        assert_eq!(choose(&[], amd64), None);
    }
}
