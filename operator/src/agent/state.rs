//! A state object as the agent keeps it. Both kinds are one here: the status of a namespaced application's state has
//! the fields of a cluster application's, and fewer types of programs.

use bpfman_application::orders::NodeOrders;
use bpfman_application::state::OWNED_BY_LABEL;
use bpfman_application::state::application::ClusterBpfApplicationStateStatus;
use kube::api::DynamicObject;
use serde_json::Value;

use super::key::{ApplicationKey, Scope};

/// The status of a state object of either kind.
pub type Status = ClusterBpfApplicationStateStatus;

/// A state object of this node.
#[derive(Clone, Debug, PartialEq)]
pub struct StateObject {
    /// The application that it answers for.
    pub application: ApplicationKey,
    /// Uid of that application.
    pub application_uid: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// It is to go.
    pub deleted: bool,
    /// All finalizers, ours among them.
    pub finalizers: Vec<String>,
    /// What the controller wants of this node.
    pub orders: NodeOrders,
    /// What was last said. Absent if nothing was, or if it cannot be read: it is written anew then.
    pub status: Option<Status>,
}

impl StateObject {
    /// Reads an object. `None` for one that says neither by owner nor by label which application it is for.
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

    /// Whether it waits for its programs to be unloaded.
    #[must_use]
    pub fn held(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == self.application.scope.finalizer())
    }

    /// Whether anything but the status and the version is another: what an agent has to act on.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.uid == other.uid
            && self.deleted == other.deleted
            && self.orders == other.orders
            && self.held() == other.held()
            && self.application_uid == other.application_uid
    }
}
