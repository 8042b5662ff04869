//! What to send so that one value becomes another: a JSON merge patch (RFC 7386) with nothing in it that is the same.

use serde_json::{Map, Value};

/// The patch; `None` if there is nothing to change.
#[must_use]
pub fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(before) => {
                if let Some(change) = merge_patch(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changed_is_sent_and_what_is_gone_is_null() {
        let old = json!({ "a": 1, "b": { "c": 1, "d": 2 }, "list": [1, 2], "gone": true });
        let new = json!({ "a": 1, "b": { "c": 1, "d": 3 }, "list": [2], "more": "x" });
        let wanted = json!({ "b": { "d": 3 }, "list": [2], "more": "x", "gone": null });
        assert_eq!(merge_patch(&old, &new), Some(wanted));
        assert_eq!(merge_patch(&new, &new), None);
        assert_eq!(merge_patch(&json!(null), &new), Some(new));
    }
}
