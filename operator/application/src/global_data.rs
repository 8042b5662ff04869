//! Values of global variables: base64 as published, or lists of bytes.
//!
//! The published schema declares a text, but API servers store a list such as `[1, 0, 0, 0]` as well, and the
//! published operator reads four bytes; its samples use that. [`problems`] checks the type, which this schema
//! leaves open.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::check::SpecProblem;

/// Returns the problems of a spec's `globalData` as written; empty if the field is absent.
#[must_use]
pub fn problems(spec: &Value) -> Vec<SpecProblem> {
    let values = spec.get("globalData").and_then(Value::as_object);
    let wrong = values.into_iter().flatten().filter_map(|(name, value)| Some((name, readable(value).err()?)));
    wrong
        .map(|(name, message)| SpecProblem {
            path: format!("spec.globalData.{name}"),
            message: message.to_owned(),
        })
        .collect()
}

/// Reads the map. An invalid value becomes empty, which the daemon rejects: an error here would fail whole lists.
pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, ByteString>>, D::Error> {
    let values = Option::<BTreeMap<String, Value>>::deserialize(from)?;
    Ok(values.map(|values| values.into_iter().map(|(name, value)| (name, bytes(&value))).collect()))
}

fn bytes(value: &Value) -> ByteString {
    readable(value).unwrap_or_default()
}

fn readable(value: &Value) -> Result<ByteString, &'static str> {
    let byte = |byte: &Value| byte.as_u64().and_then(|byte| u8::try_from(byte).ok());
    match value {
        Value::String(_) => serde_json::from_value(value.clone()).map_err(|_| "it is not base64"),
        Value::Array(list) => list
            .iter()
            .map(byte)
            .collect::<Option<Vec<u8>>>()
            .map(ByteString)
            .ok_or("not each entry of the list is a byte: numbers from 0 to 255 are"),
        _ => Err(
            "it is neither base64 nor a list of bytes: for the number 1 in four bytes write AQAAAA== or [1, 0, 0, 0]",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn base64_and_lists_of_bytes_are_the_same() {
        let values = read(json!({ "text": "AQAAAA==", "list": [1, 0, 0, 0] })).unwrap().unwrap();
        assert_eq!(values["text"].0, [1, 0, 0, 0]);
        assert_eq!(values["list"].0, [1, 0, 0, 0]);
        assert_eq!(read(Value::Null).unwrap(), None);
    }

    #[test]
    fn one_unreadable_value_does_not_take_the_others_away() {
        let values = read(json!({ "good": "AQ==", "big": [256], "half": [1, 0.5], "text": "no base64!" }));
        let values = values.unwrap().unwrap();
        assert_eq!(values["good"].0, [1]);
        for name in ["big", "half", "text"] {
            assert!(values[name].0.is_empty(), "{name}");
        }
    }

    #[test]
    fn invalid_value_is_named_by_path() {
        let spec =
            json!({ "globalData": { "a": "AQ==", "b": [1, 255], "c": "no base64!", "d": [256], "e": 1 } });
        let found: Vec<_> = problems(&spec).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0], "spec.globalData.c: it is not base64");
        assert!(found[1].starts_with("spec.globalData.d: not each entry of the list is a byte"), "{found:?}");
        assert!(found[2].contains("[1, 0, 0, 0]"), "{found:?}");
        assert_eq!(problems(&json!({})), []);
    }
}
