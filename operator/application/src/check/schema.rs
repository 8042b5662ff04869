use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::SpecProblem;
use super::fields::{SpecProblems, matches};
use crate::crd;

/// Returns the path of every field of a manifest that the schema of its kind does not allow; empty for an
/// unknown kind. Unknown fields are included, because API servers drop them silently. An explicit `null`
/// counts as absent.
#[must_use]
pub fn manifest(manifest: &Value) -> Vec<SpecProblem> {
    let kind = manifest.get("kind").and_then(Value::as_str).unwrap_or_default();
    let mut found = SpecProblems::default();
    if let (Some(schema), Some(fields)) = (schema_of(kind), manifest.as_object()) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let known: BTreeMap<&str, &Value> =
            properties.into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)).collect();
        let top = ["apiVersion", "kind", "metadata", "status"];
        for (name, value) in fields.iter().filter(|(name, _)| !top.contains(&name.as_str())) {
            match known.get(name.as_str()) {
                Some(schema) => any(&mut found, name, schema, value),
                None => unknown(&mut found, name, "", known.keys().copied()),
            }
        }
        match manifest.get("spec") {
            None | Some(Value::Null) => found.add("spec", "it is missing"),
            Some(spec) => found.problems.extend(crate::global_data::problems(spec)),
        }
    }
    found.problems
}

fn schema_of(kind: &str) -> Option<Arc<Value>> {
    static KNOWN: Mutex<BTreeMap<String, Arc<Value>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(schema) = known.get(kind) {
        return Some(Arc::clone(schema));
    }
    let version = crd::of_kind(kind)?.spec.versions.into_iter().next()?;
    let schema = Arc::new(serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?);
    known.insert(kind.to_owned(), Arc::clone(&schema));
    Some(schema)
}

fn unknown<'a>(found: &mut SpecProblems, name: &str, path: &str, known: impl Iterator<Item = &'a str>) {
    let known: Vec<&str> = known.collect();
    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    found.add(path, format!("there is no such field; there are {}", known.join(", ")));
}

fn any(found: &mut SpecProblems, path: &str, schema: &Value, value: &Value) {
    if value.is_null() {
        return;
    }
    if schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true) {
        match value {
            Value::String(text) => string(found, path, schema, text),
            Value::Number(number) if number.is_i64() => {}
            _ => found.add(path, format!("{} is neither a whole number nor a text", shown(value))),
        }
        return;
    }
    match (schema.get("type").and_then(Value::as_str), value) {
        (Some("object"), Value::Object(fields)) => object(found, path, schema, fields),
        (Some("array"), Value::Array(items)) => array(found, path, schema, items),
        (Some("string"), Value::String(text)) => string(found, path, schema, text),
        (Some("integer"), Value::Number(number)) if number.as_i64().is_some() => {
            integer(found, path, schema, number.as_i64().unwrap_or_default());
        }
        (Some("number"), Value::Number(_)) | (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some(kind), _) => found.add(path, format!("{} is not {}", shown(value), named(kind))),
    }
}

fn named(kind: &str) -> &str {
    match kind {
        "object" => "an object",
        "array" => "a list",
        "string" => "a text (in YAML, quote what looks like something else)",
        "integer" => "a whole number",
        "boolean" => "true or false",
        other => other,
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn object(found: &mut SpecProblems, path: &str, schema: &Value, fields: &Map<String, Value>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let of_any = schema.get("additionalProperties").filter(|schema| schema.is_object());
    let open = of_any.is_some()
        || properties.is_none()
        || schema.get("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool) == Some(true);
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if fields.get(name).is_none_or(Value::is_null) {
            found.add(format!("{path}.{name}"), "it is missing");
        }
    }
    count(found, path, fields.values().filter(|value| !value.is_null()).count(), schema, "Properties");
    for (name, value) in fields {
        let below = format!("{path}.{name}");
        match properties.and_then(|properties| properties.get(name)).or(of_any) {
            Some(schema) => any(found, &below, schema, value),
            None if open => {}
            None => {
                let known = properties.into_iter().flatten().map(|(name, _)| name.as_str());
                unknown(found, name, path, known);
            }
        }
    }
}

fn array(found: &mut SpecProblems, path: &str, schema: &Value, items: &[Value]) {
    count(found, path, items.len(), schema, "Items");
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match schema.get("items") {
            Some(_) if item.is_null() => found.add(path, "it is null: a value is needed"),
            Some(schema) => any(found, &path, schema, item),
            None => {}
        }
    }
}

fn count(found: &mut SpecProblems, path: &str, count: usize, schema: &Value, of: &str) {
    let bound = |side: &str| schema.get(format!("{side}{of}")).and_then(Value::as_u64);
    let (least, most) = (bound("min"), bound("max"));
    let count = count as u64;
    if least.is_some_and(|least| count < least) || most.is_some_and(|most| count > most) {
        let entries = if count == 1 { "entry" } else { "entries" };
        found.add(path, format!("it has {count} {entries}: {} allowed", range(least, most)));
    }
}

fn range<T: ToString + PartialEq>(least: Option<T>, most: Option<T>) -> String {
    match (least, most) {
        (Some(least), Some(most)) if least == most => format!("exactly {} is", least.to_string()),
        (Some(least), Some(most)) => format!("{} to {} are", least.to_string(), most.to_string()),
        (Some(least), None) => format!("{} or more are", least.to_string()),
        (None, Some(most)) => format!("at most {} is", most.to_string()),
        (None, None) => "anything is".to_owned(),
    }
}

fn integer(found: &mut SpecProblems, path: &str, schema: &Value, value: i64) {
    let bound = |side: &str| schema.get(side).and_then(Value::as_f64).map(|bound| bound as i64);
    let (mut least, mut most) = (bound("minimum"), bound("maximum"));
    if schema.get("format").and_then(Value::as_str) == Some("int32") {
        least = least.or(Some(i64::from(i32::MIN)));
        most = most.or(Some(i64::from(i32::MAX)));
    }
    if least.is_some_and(|least| value < least) || most.is_some_and(|most| value > most) {
        found.add(path, format!("{value} is out of range: {} allowed", range(least, most)));
    }
}

fn string(found: &mut SpecProblems, path: &str, schema: &Value, text: &str) {
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        if !allowed.contains(&text) {
            found.add(path, format!("\"{text}\" is not allowed: {} are", allowed.join(", ")));
        }
        return;
    }
    let length = text.chars().count() as u64;
    let bound = |side: &str| schema.get(side).and_then(Value::as_u64);
    let (least, most) = (bound("minLength"), bound("maxLength"));
    if least.is_some_and(|least| length < least) || most.is_some_and(|most| length > most) {
        found.add(path, format!("it has {length} characters: {} allowed", range(least, most)));
        return;
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !matches(pattern, text)
    {
        found.add(path, format!("\"{text}\" does not match the pattern {pattern}"));
    }
}
