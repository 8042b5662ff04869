//! Custom resource definitions, ready to be applied.

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::{CustomResourceExt, Resource};
use serde_json::{Map, Value};

use crate::application::{BpfApplication, ClusterBpfApplication};
use crate::condition;
use crate::config::Config;
use crate::state::application::{BpfApplicationState, ClusterBpfApplicationState};

type Name = fn(&()) -> Cow<'_, str>;

type Definition = fn() -> CustomResourceDefinition;

const KINDS: [(Name, Definition); 5] = [
    (ClusterBpfApplication::kind, || application(ClusterBpfApplication::crd())),
    (BpfApplication::kind, || application(BpfApplication::crd())),
    (ClusterBpfApplicationState::kind, || with_schemas(ClusterBpfApplicationState::crd(), publish)),
    (BpfApplicationState::kind, || with_schemas(BpfApplicationState::crd(), publish)),
    (Config::kind, || with_schemas(Config::crd(), publish)),
];

/// Returns every definition, in a fixed order.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    KINDS.map(|(_, definition)| definition()).into()
}

/// Returns the definition of one kind without building the others.
#[must_use]
pub fn of_kind(kind: &str) -> Option<CustomResourceDefinition> {
    KINDS.iter().find(|(name, _)| name(&()) == kind).map(|(_, definition)| definition())
}

/// Returns every definition for API servers before 1.30, which reject `selectableFields`.
#[must_use]
pub fn without_selectable_fields() -> Vec<CustomResourceDefinition> {
    let mut all = all();
    for version in all.iter_mut().flat_map(|definition| &mut definition.spec.versions) {
        version.selectable_fields = None;
    }
    all
}

/// Returns every definition for API servers before 1.25, which reject `x-kubernetes-validations` too.
#[must_use]
pub fn without_rules() -> Vec<CustomResourceDefinition> {
    without_selectable_fields()
        .into_iter()
        .map(|crd| with_schemas(crd, |schema| remove_keyword(schema, "x-kubernetes-validations")))
        .collect()
}

/// Adds the default status. A `Config` has none: tools apply it with the controller, and wait for both.
fn application(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    with_schemas(crd, |schema| {
        publish(schema);
        if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
            status.insert("default".to_owned(), condition::unseen());
        }
    })
}

/// Removes keywords that the published schema does not have:
///
/// - `nullable` of every `Option`: the API server drops an explicit null instead, as for Go types;
/// - `title`, which repeats the kind's name;
/// - number formats that Kubernetes does not know (`uint32`): API servers warn about each.
fn publish(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
    }
    remove_keyword(schema, "nullable");
    each(schema, &plain_number);
}

fn with_schemas(crd: CustomResourceDefinition, change: impl Fn(&mut Value)) -> CustomResourceDefinition {
    let round_trip = || {
        let mut value = serde_json::to_value(&crd).ok()?;
        for version in value.pointer_mut("/spec/versions")?.as_array_mut()? {
            change(version.pointer_mut("/schema/openAPIV3Schema")?);
        }
        serde_json::from_value(value).ok()
    };
    // The value came from a definition, and the changes touch only optional fields: the conversion succeeds.
    round_trip().unwrap_or(crd)
}

fn remove_keyword(schema: &mut Value, keyword: &str) {
    each(schema, &|schema| {
        schema.remove(keyword);
    });
}

fn plain_number(schema: &mut Map<String, Value>) {
    if schema.get("format").and_then(Value::as_str) == Some("uint32") {
        schema.insert("format".to_owned(), "int64".into());
        schema.entry("minimum").or_insert_with(|| 0.into());
        schema.entry("maximum").or_insert_with(|| u32::MAX.into());
    }
}

fn each(schema: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    let Some(schema) = schema.as_object_mut() else { return };
    change(schema);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(|schema| each(schema, change));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get_mut(inner) {
            each(schema, change);
        }
    }
}
