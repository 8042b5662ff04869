//! The custom resource definitions, ready to be applied.

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::{CustomResourceExt, Resource};
use serde_json::{Map, Value};

use crate::application::{BpfApplication, ClusterBpfApplication};
use crate::condition;
use crate::config::Config;
use crate::state::application::{BpfApplicationState, ClusterBpfApplicationState};

/// Gives the name of a kind, for which no definition has to be made.
type Name = fn(&()) -> Cow<'_, str>;

/// Makes the definition of a kind.
type Definition = fn() -> CustomResourceDefinition;

/// The name of each kind with its definition, in the order in which they are printed.
const KINDS: [(Name, Definition); 5] = [
    (ClusterBpfApplication::kind, || application(ClusterBpfApplication::crd())),
    (BpfApplication::kind, || application(BpfApplication::crd())),
    (ClusterBpfApplicationState::kind, || with_schemas(ClusterBpfApplicationState::crd(), publish)),
    (BpfApplicationState::kind, || with_schemas(BpfApplicationState::crd(), publish)),
    (Config::kind, || with_schemas(Config::crd(), publish)),
];

/// Every definition, in a fixed order.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    KINDS.map(|(_, definition)| definition()).into()
}

/// The definition of one kind, without the work that the others take.
#[must_use]
pub fn of_kind(kind: &str) -> Option<CustomResourceDefinition> {
    KINDS.iter().find(|(name, _)| name(&()) == kind).map(|(_, definition)| definition())
}

/// Every definition for API servers before 1.30, which do not know `selectableFields` and refuse them. Objects cannot be
/// chosen by a field there (`--field-selector`).
#[must_use]
pub fn without_selectable_fields() -> Vec<CustomResourceDefinition> {
    let mut all = all();
    for version in all.iter_mut().flat_map(|definition| &mut definition.spec.versions) {
        version.selectable_fields = None;
    }
    all
}

/// The same for API servers before 1.25, which do not know rules in schemas (`x-kubernetes-validations`) and
/// refuse them. What the rules say is then left to admission and to the agents.
#[must_use]
pub fn without_rules() -> Vec<CustomResourceDefinition> {
    without_selectable_fields()
        .into_iter()
        .map(|crd| with_schemas(crd, |schema| remove_keyword(schema, "x-kubernetes-validations")))
        .collect()
}

/// The definition of an application's kind: objects have the status [`condition::unseen`] until a controller writes one.
///
/// A `Config` has none: it is applied beside the controller, which a tool waits for anyway, and an API server that fills in
/// a status writes it with the next apply, though nothing else changes.
fn application(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    with_schemas(crd, |schema| {
        publish(schema);
        if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
            status.insert("default".to_owned(), condition::unseen());
        }
    })
}

/// Removes from a derived schema what the published one does not have.
///
/// - `nullable`: schemars gives it to every `Option`. The published fields are optional but not nullable, so that
///   the API server drops an explicit null, as it does for every field of Go types.
/// - `title`: the kind's name once more.
/// - formats of numbers that Kubernetes does not know (`uint32`): API servers warn of each.
fn publish(schema: &mut Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
    }
    remove_keyword(schema, "nullable");
    each(schema, &plain_number);
}

/// A definition with something changed in its schemas.
fn with_schemas(crd: CustomResourceDefinition, change: impl Fn(&mut Value)) -> CustomResourceDefinition {
    let round_trip = || {
        let mut value = serde_json::to_value(&crd).ok()?;
        for version in value.pointer_mut("/spec/versions")?.as_array_mut()? {
            change(version.pointer_mut("/schema/openAPIV3Schema")?);
        }
        serde_json::from_value(value).ok()
    };
    // The value came from a definition; optional fields were lost or set, so it is one again.
    round_trip().unwrap_or(crd)
}

/// Removes a keyword from a schema and all schemas in it; a property of that name would stay.
fn remove_keyword(schema: &mut Value, keyword: &str) {
    each(schema, &|schema| {
        schema.remove(keyword);
    });
}

/// A number that has no sign, with the same bounds, in the formats that Kubernetes knows.
fn plain_number(schema: &mut Map<String, Value>) {
    if schema.get("format").and_then(Value::as_str) == Some("uint32") {
        schema.insert("format".to_owned(), "int64".into());
        schema.entry("minimum").or_insert_with(|| 0.into());
        schema.entry("maximum").or_insert_with(|| u32::MAX.into());
    }
}

/// Changes a schema and all schemas in it.
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
