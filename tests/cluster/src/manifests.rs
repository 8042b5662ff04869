//! Manifests, as people write them: YAML, several in one file.

use serde::Deserialize as _;
use serde_json::Value;

/// The objects in a text.
///
/// # Panics
/// It is no YAML.
#[must_use]
pub fn parse(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}
