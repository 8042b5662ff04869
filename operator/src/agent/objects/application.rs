//! Application as the agent stores it.

use bpfman_application::spec::{ApplicationSpec, SpecError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::DynamicObject;
use serde_json::Value;

use bpfman_application::scope::{ApplicationKey, Scope};

/// Application with the fields that the agent needs: without status, so that equal values require no action.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedApplication {
    /// Scope, namespace and name.
    pub key: ApplicationKey,
    pub uid: String,
    /// Generation, which grows with each change of the spec.
    pub generation: i64,
    /// True if the object is being deleted.
    pub deleted: bool,
    /// Spec, if this agent can parse it.
    pub spec: Result<ApplicationSpec, Unreadable>,
}

/// Spec that this agent cannot parse.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// Reason, as a message.
    pub why: String,
    /// Node selector, if at least that can be parsed: the agents of the selected nodes report the error.
    pub node_selector: Option<LabelSelector>,
}

impl WantedApplication {
    /// Parses an object. A spec that cannot be parsed, perhaps of a newer CRD, is kept as [`Unreadable`].
    #[must_use]
    pub fn read(scope: Scope, object: DynamicObject) -> Option<Self> {
        let metadata = object.metadata;
        let mut data = object.data;
        let spec = data.get_mut("spec").map(Value::take).unwrap_or_default();
        let namespace = match scope {
            Scope::Cluster => None,
            Scope::Namespaced => Some(metadata.namespace?),
        };
        let key = ApplicationKey { scope, namespace, name: metadata.name? };
        Some(Self {
            uid: metadata.uid?,
            generation: metadata.generation.unwrap_or_default(),
            deleted: metadata.deletion_timestamp.is_some(),
            spec: read_spec(&key, spec),
            key,
        })
    }
}

fn read_spec(key: &ApplicationKey, spec: Value) -> Result<ApplicationSpec, Unreadable> {
    let node_selector = spec.get("nodeSelector").cloned();
    ApplicationSpec::read(key.namespace.as_deref(), spec).map_err(|error| Unreadable {
        why: match error {
            SpecError::GlobalData(_) => error.to_string(),
            SpecError::Field(error) => format!(
                "this node's agent cannot read the spec: {error}; is the agent older than the definitions?"
            ),
        },
        node_selector: node_selector.and_then(|selector| serde_json::from_value(selector).ok()),
    })
}
