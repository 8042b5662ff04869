//! An application as the agent keeps it.

use bpfman_application::spec::{ApplicationSpec, SpecError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::DynamicObject;
use serde_json::Value;

use bpfman_application::scope::{ApplicationKey, Scope};

/// An application, without what the agent does not need.
///
/// Equal ones ask for the same: the status, which the controller writes again and again, is not among the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedApplication {
    /// Kind, namespace and name.
    pub key: ApplicationKey,
    /// Uid.
    pub uid: String,
    /// Grows with each change of the spec.
    pub generation: i64,
    /// Somebody deleted it.
    pub deleted: bool,
    /// What it asks for, if this agent can read it.
    pub spec: Result<ApplicationSpec, Unreadable>,
}

/// A spec that this agent cannot read.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// Why, for people.
    pub why: String,
    /// Which nodes it is for, if at least that can be read: the agents of those say why.
    pub node_selector: Option<LabelSelector>,
}

impl WantedApplication {
    /// Reads an object.
    ///
    /// A spec that this agent cannot read, perhaps of a newer definition, is kept as such: one bad object must not
    /// hide the others.
    #[must_use]
    pub fn read(scope: Scope, object: DynamicObject) -> Option<Self> {
        let metadata = object.metadata;
        let mut data = object.data;
        let spec = data.get_mut("spec").map(Value::take).unwrap_or_default();
        // The API server lets no object of a namespaced kind be without one.
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
