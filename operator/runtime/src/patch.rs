//! Minimal merge patch between two values (RFC 7396).

use serde_json::{Map, Value};

/// Returns the patch from `from` to `to`; `None` if equal. `to` has no nulls, because a patch cannot set one.
#[must_use]
pub fn difference(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (from, to) else { return Some(to.clone()) };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        let change = match old.get(key) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(key.clone(), change);
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_changed_means_no_patch() {
        let value = json!({ "a": 1, "b": [1, { "c": 2 }] });
        assert_eq!(difference(&value, &value), None);
    }

    #[test]
    fn only_what_changed_is_in_the_patch() {
        let from = json!({ "a": { "same": 1, "other": 2, "gone": 3 }, "b": [1, 2] });
        let to = json!({ "a": { "same": 1, "other": 5 }, "b": [1], "new": "x" });
        let expected = json!({ "a": { "other": 5, "gone": null }, "b": [1], "new": "x" });
        assert_eq!(difference(&from, &to), Some(expected));
    }

    #[test]
    fn from_nothing_the_whole_is_written() {
        assert_eq!(difference(&Value::Null, &json!({ "a": 1 })), Some(json!({ "a": 1 })));
    }

    #[test]
    fn only_what_changed_is_sent_and_what_is_gone_is_null() {
        let old = json!({ "a": 1, "b": { "c": 1, "d": 2 }, "list": [1, 2], "gone": true });
        let new = json!({ "a": 1, "b": { "c": 1, "d": 3 }, "list": [2], "more": "x" });
        let wanted = json!({ "b": { "d": 3 }, "list": [2], "more": "x", "gone": null });
        assert_eq!(difference(&old, &new), Some(wanted));
        assert_eq!(difference(&new, &new), None);
        assert_eq!(difference(&json!(null), &new), Some(new));
    }
}
