//! An application as the agent keeps it.

use bpfman_application::global_data;
use bpfman_application::spec::Spec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::DynamicObject;
use serde_json::Value;

use bpfman_application::scope::{ApplicationKey, Scope};

/// An application, without what the agent does not need.
///
/// Equal ones ask for the same: the status, which the controller writes again and again, is not among the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// Kind, namespace and name.
    pub key: ApplicationKey,
    /// Uid.
    pub uid: String,
    /// Grows with each change of the spec.
    pub generation: i64,
    /// Somebody deleted it.
    pub deleted: bool,
    /// What it asks for, if this agent can read it.
    pub spec: Result<Spec, Unreadable>,
}

/// A spec that this agent cannot read.
#[derive(Clone, Debug, PartialEq)]
pub struct Unreadable {
    /// Why, for people.
    pub why: String,
    /// Which nodes it is for, if at least that can be read: the agents of those say why.
    pub node_selector: Option<LabelSelector>,
}

impl Application {
    /// Reads an object.
    ///
    /// A spec that this agent cannot read, perhaps of a newer definition, is kept as such: one bad object must not
    /// hide the others.
    #[must_use]
    pub fn read(scope: Scope, object: DynamicObject) -> Option<Self> {
        let metadata = object.metadata;
        let mut data = object.data;
        let spec = data.get_mut("spec").map(Value::take).unwrap_or_default();
        Some(Self {
            key: ApplicationKey { scope, namespace: metadata.namespace, name: metadata.name? },
            uid: metadata.uid?,
            generation: metadata.generation.unwrap_or_default(),
            deleted: metadata.deletion_timestamp.is_some(),
            spec: read_spec(scope, spec),
        })
    }
}

fn read_spec(scope: Scope, spec: Value) -> Result<Spec, Unreadable> {
    let node_selector = spec.get("nodeSelector").cloned();
    parse(scope, spec).map_err(|why| Unreadable {
        why,
        node_selector: node_selector.and_then(|selector| serde_json::from_value(selector).ok()),
    })
}

/// Reads a spec.
///
/// # Errors
/// It is none: for people, with the field.
pub fn parse(scope: Scope, spec: Value) -> Result<Spec, String> {
    if let Some(problem) = global_data::problems(&spec).first() {
        return Err(problem.to_string());
    }
    let read = match scope {
        Scope::Cluster => serde_json::from_value(spec).map(Spec::Cluster),
        Scope::Namespaced => serde_json::from_value(spec).map(Spec::Namespaced),
    };
    read.map_err(|error| {
        format!("this node's agent cannot read the spec: {error}; is the agent older than the definitions?")
    })
}
