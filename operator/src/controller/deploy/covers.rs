//! Comparison of an object on the server with the applied one; defaults and other managers' fields are ignored. Pure.

use serde_json::Value;

use super::quantity::same_amount;

#[must_use]
pub fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match found.get(key) {
                Some(found) if ["requests", "limits"].contains(&&**key) => same_amounts(found, wanted),
                Some(found) => covers(found, wanted),
                // The server drops empty fields.
                None => is_empty(wanted),
            })
        }
        (Value::Array(found), Value::Array(wanted)) => match key_of(wanted) {
            Some(key) => wanted
                .iter()
                .all(|item| found.iter().any(|found| found.get(key) == item.get(key) && covers(found, item))),
            None => {
                found.len() == wanted.len()
                    && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
            }
        },
        _ => found == wanted,
    }
}

fn same_amounts(found: &Value, wanted: &Value) -> bool {
    let (Some(found), Some(wanted)) = (found.as_object(), wanted.as_object()) else { return found == wanted };
    wanted.iter().all(|(resource, wanted)| {
        match (found.get(resource).and_then(Value::as_str), wanted.as_str()) {
            (Some(found), Some(wanted)) => same_amount(found, wanted),
            _ => false,
        }
    })
}

fn key_of(items: &[Value]) -> Option<&'static str> {
    ["name", "mountPath"]
        .into_iter()
        .find(|key| !items.is_empty() && items.iter().all(|item| item.get(*key).is_some()))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(value) => !value,
        _ => value.is_null(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_and_fields_of_others_are_no_drift() {
        let wanted =
            json!({ "spec": { "containers": [{ "name": "a", "image": "x", "env": [] }], "host": false } });
        let found = json!({ "spec": {
            "containers": [
                { "name": "sidecar", "image": "y" },
                { "name": "a", "image": "x", "terminationMessagePath": "/dev/termination-log" }
            ],
            "dnsPolicy": "ClusterFirst"
        } });
        assert!(covers(&found, &wanted));
    }

    #[test]
    fn an_amount_is_the_same_however_it_is_written() {
        let wanted = json!({ "resources": { "requests": { "cpu": "1000m" } } });
        assert!(covers(&json!({ "resources": { "requests": { "cpu": "1" } } }), &wanted));
        assert!(!covers(&json!({ "resources": { "requests": { "cpu": "2" } } }), &wanted));
        assert!(!covers(&json!({ "resources": { "requests": { "memory": "1" } } }), &wanted));
    }

    #[test]
    fn a_changed_a_missing_and_a_shortened_field_are_drift() {
        let wanted =
            json!({ "image": "x", "args": ["a", "b"], "mounts": [{ "mountPath": "/a", "name": "a" }] });
        for (field, value) in [("image", json!("y")), ("args", json!(["a"])), ("mounts", json!([]))] {
            let mut found = wanted.clone();
            found[field] = value;
            assert!(!covers(&found, &wanted), "{field}");
        }
        assert!(!covers(&json!({ "args": ["a", "b"] }), &wanted));
    }
}
