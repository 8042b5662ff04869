//! Values of global variables as API servers let them through.
//!
//! The schema says base64. But a server looks no further at a list where a string with a format is asked for, so
//! `[1, 0, 0, 0]` is stored as it is, and the published operator reads it as those four bytes. Manifests say it that
//! way. So both are read here, and base64 is written.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads the map. What is neither base64 nor a list of bytes becomes no bytes, which no variable has: the daemon then
/// refuses that one application and names the variable. An error here would come from every list of applications that
/// this one is in, and stop all of them.
pub fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, ByteString>>, D::Error> {
    let values = Option::<BTreeMap<String, Value>>::deserialize(from)?;
    Ok(values.map(|values| values.into_iter().map(|(name, value)| (name, bytes(&value))).collect()))
}

fn bytes(value: &Value) -> ByteString {
    let listed = || {
        let list = value.as_array()?.iter();
        list.map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect::<Option<Vec<u8>>>()
    };
    serde_json::from_value(value.clone()).ok().or_else(|| listed().map(ByteString)).unwrap_or_default()
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
}
