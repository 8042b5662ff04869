//! Manifests in YAML, with several objects in one file.

use serde::Deserialize as _;
use serde_json::Value;

#[must_use]
pub fn parse(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

pub fn wait_for_reviews(object: &mut Value) {
    for webhook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        webhook["timeoutSeconds"] = 30.into();
    }
}
