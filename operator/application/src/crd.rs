//! Custom resource definitions, ready to be applied.

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::{CustomResourceExt, Resource};
use serde_json::{Map, Value};

use crate::application::{BpfApplication, ClusterBpfApplication};
use crate::condition;
use crate::config::Config;
use crate::state::application::{BpfApplicationState, ClusterBpfApplicationState};

/// Function that returns the name of a kind without building its definition.
type Name = fn(&()) -> Cow<'_, str>;

/// Function that builds the definition of a kind.
type Definition = fn() -> CustomResourceDefinition;

/// Name and definition of each kind, in the order in which they are printed.
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

/// Returns every definition for API servers before 1.30, which reject `selectableFields`. Objects cannot be selected
/// by field there (`--field-selector`).
#[must_use]
pub fn without_selectable_fields() -> Vec<CustomResourceDefinition> {
    let mut all = all();
    for version in all.iter_mut().flat_map(|definition| &mut definition.spec.versions) {
        version.selectable_fields = None;
    }
    all
}

/// Returns every definition for API servers before 1.25, which reject rules in schemas (`x-kubernetes-validations`)
/// too. Admission and the agents enforce the rules instead.
#[must_use]
pub fn without_rules() -> Vec<CustomResourceDefinition> {
    without_selectable_fields()
        .into_iter()
        .map(|crd| with_schemas(crd, |schema| remove_keyword(schema, "x-kubernetes-validations")))
        .collect()
}

/// Completes the definition of an application's kind: objects have the status [`condition::unseen`] until a
/// controller writes one.
///
/// A `Config` has no default status: it is applied together with the controller, which a tool waits for anyway, and
/// an API server that fills in a status writes it at the next apply, although nothing else changes.
fn application(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    with_schemas(crd, |schema| {
        publish(schema);
        if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
            status.insert("default".to_owned(), condition::unseen());
        }
    })
}

/// Removes keywords from a derived schema that the published schema does not have.
///
/// - `nullable`: schemars adds it to every `Option`. The published fields are optional but not nullable, so that the
///   API server drops an explicit null, as it does for every field of Go types.
/// - `title`: repeats the kind's name.
/// - number formats that Kubernetes does not know (`uint32`): API servers warn about each.
fn publish(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
    }
    remove_keyword(schema, "nullable");
    each(schema, &plain_number);
}

/// Applies a change to each schema of a definition.
fn with_schemas(crd: CustomResourceDefinition, change: impl Fn(&mut Value)) -> CustomResourceDefinition {
    let round_trip = || {
        let mut value = serde_json::to_value(&crd).ok()?;
        for version in value.pointer_mut("/spec/versions")?.as_array_mut()? {
            change(version.pointer_mut("/schema/openAPIV3Schema")?);
        }
        serde_json::from_value(value).ok()
    };
    // The conversion back succeeds: the value came from a definition, and the changes touch only optional fields.
    round_trip().unwrap_or(crd)
}

/// Removes a keyword from a schema and all nested schemas; a property of that name stays.
fn remove_keyword(schema: &mut Value, keyword: &str) {
    each(schema, &|schema| {
        schema.remove(keyword);
    });
}

/// Replaces the format of an unsigned number by one that Kubernetes knows, with the same bounds.
fn plain_number(schema: &mut Map<String, Value>) {
    if schema.get("format").and_then(Value::as_str) == Some("uint32") {
        schema.insert("format".to_owned(), "int64".into());
        schema.entry("minimum").or_insert_with(|| 0.into());
        schema.entry("maximum").or_insert_with(|| u32::MAX.into());
    }
}

/// Applies a change to a schema and all nested schemas.
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
