//! State object as the agent stores it, one type for both scopes: namespaced ones have a subset of the fields.

use std::sync::Arc;

use bpfman_application::orders::NodeOrders;
use bpfman_application::state::OWNED_BY_LABEL;
use bpfman_application::state::application::ClusterBpfApplicationStateStatus;
use bpfman_apply::desired::ProgramOwner;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DynamicObject;
use serde_json::Value;

use super::application::WantedApplication;
use bpfman_application::scope::{ApplicationKey, Scope};
use bpfman_application::state::name::state_name;
use bpfman_runtime::object::is_older;

/// Status of a state object of either scope.
pub type Status = ClusterBpfApplicationStateStatus;

/// State object of this node.
#[derive(Clone, Debug, PartialEq)]
pub struct StateObject {
    /// Application to which the object belongs.
    pub application: ApplicationKey,
    pub application_uid: String,
    pub name: String,
    /// Uid of the state object.
    pub uid: String,
    /// Resource version that was read.
    pub resource_version: String,
    /// True if the object is being deleted.
    pub deleted: bool,
    /// All finalizers, including the agent's.
    pub finalizers: Vec<String>,
    pub orders: NodeOrders,
    /// Last written status; `None` if there is none or it cannot be parsed, in which case it is written again.
    pub status: Option<Status>,
}

impl StateObject {
    /// Returns the object reference for events.
    #[must_use]
    pub fn reference(&self) -> ObjectReference {
        let resource = self.application.scope.states();
        ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(self.name.clone()),
            namespace: self.application.namespace.clone(),
            uid: Some(self.uid.clone()),
            ..ObjectReference::default()
        }
    }

    /// Parses an object. `None` if neither its owner nor its label names an application.
    #[must_use]
    pub fn read(scope: Scope, object: DynamicObject) -> Option<Self> {
        let metadata = object.metadata;
        let mut data = object.data;
        let orders = NodeOrders::read(metadata.annotations.as_ref());
        let owner = metadata
            .owner_references
            .unwrap_or_default()
            .into_iter()
            .find(|owner| owner.kind == scope.application_kind());
        let (application, application_uid) = match owner {
            Some(owner) => (owner.name, owner.uid),
            None => (metadata.labels?.remove(OWNED_BY_LABEL)?, String::new()),
        };
        Some(Self {
            application: ApplicationKey { scope, namespace: metadata.namespace, name: application },
            application_uid,
            name: metadata.name?,
            uid: metadata.uid?,
            resource_version: metadata.resource_version?,
            deleted: metadata.deletion_timestamp.is_some(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            orders,
            status: data
                .get_mut("status")
                .map(Value::take)
                .and_then(|status| serde_json::from_value(status).ok()),
        })
    }

    /// Returns the application and the object's name.
    #[must_use]
    pub fn key(&self) -> (ApplicationKey, String) {
        (self.application.clone(), self.name.clone())
    }

    /// Returns the owner of the object's programs in the daemon.
    #[must_use]
    pub fn owner(&self) -> ProgramOwner {
        let ApplicationKey { namespace, name, .. } = self.application.clone();
        ProgramOwner { namespace, name, uid: self.uid.clone() }
    }

    /// Returns whether the object has the agent's finalizer, which stays until its programs are unloaded.
    #[must_use]
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == self.application.scope.finalizer())
    }

    /// Returns whether both objects require the same actions: they differ at most in status and version.
    #[must_use]
    pub fn requires_same_actions(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.deleted == other.deleted
            && self.orders == other.orders
            && self.has_finalizer() == other.has_finalizer()
            && self.application_uid == other.application_uid
    }

    /// Returns whether this is an older version of the same object. Versions that are not numbers are not compared.
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.uid == other.uid && is_older(&self.resource_version, &other.resource_version)
    }
}

/// Returns the state object that this agent maintains: that with its name, else one of another operator's
/// agent. The programs of the latter are found by its uid, and run until the new ones are attached.
#[must_use]
pub fn own<'a>(
    states: &'a [Arc<StateObject>],
    application: &WantedApplication,
    node: &str,
) -> Option<&'a Arc<StateObject>> {
    let name = state_name(&application.key.name, &application.uid, node);
    let adopted = |state: &&Arc<StateObject>| {
        !state.deleted && !state.application_uid.is_empty() && state.application_uid == application.uid
    };
    let named = states.iter().find(|state| state.name == name);
    named.or_else(|| states.iter().filter(adopted).min_by_key(|state| &state.name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::super::application::Unreadable;
    use super::*;

    fn state(name: &str, application_uid: &str, deleted: bool) -> Arc<StateObject> {
        let mut object = json!({
            "apiVersion": "bpfman.io/v1alpha1",
            "kind": "ClusterBpfApplicationState",
            "metadata": {
                "name": name,
                "uid": format!("uid of {name}"),
                "resourceVersion": "7",
                "labels": { "kubernetes.io/hostname": "node-a", "bpfman.io/ownedByProgram": "firewall" },
                "finalizers": ["bpfman.io.clbpfapplicationcontroller/finalizer"],
                "ownerReferences": [{
                    "apiVersion": "bpfman.io/v1alpha1",
                    "kind": "ClusterBpfApplication",
                    "name": "firewall",
                    "uid": application_uid,
                }],
            },
        });
        if deleted {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(StateObject::read(Scope::Cluster, serde_json::from_value(object).unwrap()).unwrap())
    }

    #[test]
    fn an_object_is_older_by_its_version_and_only_than_itself() {
        let version = |version: &str, uid: &str| {
            let state = state("firewall-1", "u", false);
            StateObject { resource_version: version.to_owned(), uid: uid.to_owned(), ..(*state).clone() }
        };
        assert!(version("9", "a").is_older_than(&version("10", "a")));
        assert!(!version("10", "a").is_older_than(&version("10", "a")));
        assert!(!version("11", "a").is_older_than(&version("10", "a")));
        assert!(!version("9", "a").is_older_than(&version("10", "b")), "it was deleted and made again");
        assert!(!version("nine", "a").is_older_than(&version("10", "a")));
    }

    fn kept(states: &[Arc<StateObject>]) -> Option<String> {
        let key = ApplicationKey { scope: Scope::Cluster, namespace: None, name: "firewall".to_owned() };
        let application = WantedApplication {
            key,
            uid: "uid-1".to_owned(),
            generation: 1,
            deleted: false,
            spec: Err(Unreadable { why: "it does not matter here".to_owned(), node_selector: None }),
        };
        own(states, &application, "node-a").map(|state| state.name.clone())
    }

    #[test]
    fn state_of_another_operators_agent_and_its_programs_are_kept() {
        let theirs = [state("firewall-x7k2p", "uid-1", false), state("firewall-zz", "uid-1", false)];
        assert_eq!(kept(&theirs).as_deref(), Some("firewall-x7k2p"));
        assert!(theirs[0].has_finalizer(), "with the finalizer that both have");
    }

    #[test]
    fn an_object_of_this_operators_name_comes_first() {
        let name = state_name("firewall", "uid-1", "node-a");
        let both = [state("firewall-00", "uid-1", false), state(&name, "uid-1", false)];
        assert_eq!(kept(&both), Some(name));
    }

    #[test]
    fn state_of_former_or_terminating_applications_is_not_kept() {
        assert_eq!(kept(&[state("firewall-old", "uid-0", false)]), None);
        assert_eq!(kept(&[state("firewall-gone", "uid-1", true)]), None);
        assert_eq!(kept(&[]), None);
    }
}
