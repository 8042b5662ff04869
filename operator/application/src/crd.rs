//! The custom resource definitions, ready to be applied.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt;
use serde_json::Value;

use crate::application::{BpfApplication, ClusterBpfApplication};
use crate::config::Config;
use crate::state::application::{BpfApplicationState, ClusterBpfApplicationState};

/// Every definition, in a fixed order.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    [
        ClusterBpfApplication::crd(),
        BpfApplication::crd(),
        ClusterBpfApplicationState::crd(),
        BpfApplicationState::crd(),
        Config::crd(),
    ]
    .map(published_form)
    .into()
}

/// What the derived definition says beyond the published one is taken out again.
///
/// - `nullable`: schemars gives it to every `Option`. The published fields are optional but not nullable, so that
///   the API server drops an explicit null, as it does for every field of Go types.
/// - `title`: the kind's name once more.
fn published_form(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let round_trip = || {
        let mut value = serde_json::to_value(&crd).ok()?;
        for version in value.pointer_mut("/spec/versions")?.as_array_mut()? {
            let schema = version.pointer_mut("/schema/openAPIV3Schema")?;
            schema.as_object_mut()?.remove("title");
            remove_nullable(schema);
        }
        serde_json::from_value(value).ok()
    };
    // The value came from a definition and only lost optional fields, so it is one again.
    round_trip().unwrap_or(crd)
}

/// Removes the keyword from a schema and all schemas in it; a property of that name would stay.
fn remove_nullable(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("nullable");
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(remove_nullable);
    }
    for keyword in ["items", "additionalProperties"] {
        schema.get_mut(keyword).map(remove_nullable);
    }
}
