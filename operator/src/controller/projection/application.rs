use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bpfman_application::application::ApplicationStatus;
use bpfman_application::labels::{LabelMatcher, SelectorError};
use bpfman_application::rollout::Rollout;
use bpfman_application::scope::Scope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;
use thiserror::Error;

use super::node::ClusterNode;
use super::wire::WireApplication;

/// Finalizer that the controller keeps on an application until no node has any part of it left.
pub const APPLICATION_FINALIZER: &str = "bpfman.io.operator/finalizer";

/// Identity of an application: its uid, so that a recreated application of the same name is a different one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationId(pub Arc<str>);

impl fmt::Display for ApplicationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadSelector {
    #[error("nodeSelector: {0}")]
    Unreadable(String),
    #[error("nodeSelector: {0}")]
    Expression(SelectorError),
}

/// Stored fields of an application. There are few applications, so the whole spec is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackedApplication {
    pub id: ApplicationId,
    /// Cluster or namespaced.
    pub scope: Scope,
    /// Namespace; `None` for cluster applications.
    pub namespace: Option<String>,
    pub name: String,
    /// Generation, which grows with each change of the spec.
    pub generation: i64,
    pub resource_version: String,
    /// True if the object is being deleted.
    pub deleting: bool,
    pub finalizers: Vec<String>,
    /// Node selector, or its error.
    pub selector: Result<LabelMatcher, BadSelector>,
    /// Rollout settings; `None`: a change reaches all nodes at once.
    pub rollout: Option<Rollout>,
    /// Annotations with the prefix `bpfman.io/`, which contain the user's rollout commands.
    pub annotations: BTreeMap<String, String>,
    /// True if nodes must not run the pods of an attachment while the attachment is missing.
    pub fails_closed: bool,
    pub spec: Arc<Value>,
    /// Status as it is on the API server.
    pub status: Arc<Value>,
}

impl TrackedApplication {
    /// Extracts the stored fields. Returns `None` if the object has no uid, which the API server never sends.
    #[must_use]
    pub fn new(scope: Scope, wire: WireApplication) -> Option<Self> {
        let metadata = wire.metadata;
        let spec = wire.spec.unwrap_or_default();
        let mut annotations = metadata.annotations.unwrap_or_default();
        annotations.retain(|key, _| key.starts_with("bpfman.io/"));
        let selector = match spec.get("nodeSelector").cloned().map(serde_json::from_value::<LabelSelector>) {
            Some(Ok(selector)) => LabelMatcher::new(selector).map_err(BadSelector::Expression),
            Some(Err(error)) => Err(BadSelector::Unreadable(error.to_string())),
            None => Ok(LabelMatcher::default()),
        };
        Some(Self {
            id: ApplicationId(metadata.uid?.into()),
            scope,
            namespace: metadata.namespace,
            name: metadata.name?,
            generation: metadata.generation.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            selector,
            rollout: spec.get("rollout").cloned().and_then(|rollout| serde_json::from_value(rollout).ok()),
            annotations,
            fails_closed: fails_closed(&spec),
            spec: Arc::new(spec),
            status: Arc::new(wire.status.unwrap_or(Value::Null)),
        })
    }

    /// Returns the parsed status; an unreadable one counts as absent.
    #[must_use]
    pub fn typed_status(&self) -> ApplicationStatus {
        serde_json::from_value((*self.status).clone()).unwrap_or_default()
    }

    #[must_use]
    pub fn selects(&self, node: &ClusterNode) -> bool {
        self.selector.as_ref().is_ok_and(|selector| selector.matches(|key| node.label(key)))
    }

    /// Returns whether the object has the controller's finalizer.
    #[must_use]
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == APPLICATION_FINALIZER)
    }

    /// Returns `namespace/name`, or the name alone.
    #[must_use]
    pub fn full_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

fn fails_closed(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get("onUnavailable").and_then(Value::as_str) == Some("closed")
                || fields.values().any(fails_closed)
        }
        Value::Array(items) => items.iter().any(fails_closed),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn application(spec: Value) -> TrackedApplication {
        let object = json!({ "metadata": { "name": "a", "uid": "u1", "generation": 3 }, "spec": spec });
        TrackedApplication::new(Scope::Cluster, serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn one_fail_closed_attachment_makes_the_application_fail_closed() {
        let links = |last: &str| json!({ "nodeSelector": {}, "programs": [{ "xdp": { "links": [{}, { "onUnavailable": last }] } }] });
        assert!(application(links("closed")).fails_closed);
        assert!(!application(links("open")).fails_closed);
    }

    #[test]
    fn a_selector_that_cannot_be_read_says_why() {
        let spec = json!({ "nodeSelector": { "matchExpressions": [{ "key": "k", "operator": "Gt" }] } });
        assert!(application(spec).selector.unwrap_err().to_string().contains("`Gt` of `k`"));
    }

    #[test]
    fn a_status_of_another_version_counts_as_absent() {
        let mut application = application(json!({}));
        application.status = Arc::new(json!({ "conditions": "none" }));
        assert_eq!(application.typed_status(), ApplicationStatus::default());
    }
}
