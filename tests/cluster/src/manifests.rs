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

/// Has the API server wait for the answer of each webhook of an object as long as it can, which is 30 seconds. On a busy
/// machine a review may take longer than is packaged, and would be a refusal, or no review at all.
pub fn wait_for_reviews(object: &mut Value) {
    for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        webhook["timeoutSeconds"] = 30.into();
    }
}
