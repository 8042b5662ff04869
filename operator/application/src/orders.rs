//! Orders of the controller to one node, for a [`crate::rollout::Rollout`]: annotations of the state object.

use std::collections::BTreeMap;

/// Revision that the node must run: the name of a `ControllerRevision`. If absent, the node changes nothing.
pub const REVISION: &str = "bpfman.io/revision";

/// Revision that the node must load and discard; the result is reported in `status.preflight`.
pub const PREFLIGHT: &str = "bpfman.io/preflight";

/// Revision whose gates the node must watch; the result is reported in `status.health`.
pub const SOAK: &str = "bpfman.io/soak";

/// Annotation of an application into which users write `promote` or `abort`; the controller removes it once handled.
pub const ROLLOUT: &str = "bpfman.io/rollout";

/// Annotation with number and verb of an accepted [`ROLLOUT`] command; the number makes it run only once.
pub const ROLLOUT_COMMAND: &str = "bpfman.io/rollout-command";

/// Label of a `ControllerRevision`: uid of its application.
pub const REVISION_OF: &str = "bpfman.io/application-uid";

/// Key of the taint that keeps pods away from a node until its programs are back. Its effect is `NoSchedule`.
pub const NOT_READY_TAINT: &str = "bpfman.io/not-ready";

/// Orders of the controller to a node. `T` is the type of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOrders<T = String> {
    /// Revision to run.
    pub revision: Option<T>,
    /// Revision to load and discard.
    pub preflight: Option<T>,
    /// Revision whose gates are to be watched.
    pub soak: Option<T>,
}

impl<T: AsRef<str>> NodeOrders<T> {
    /// Returns the orders with their names converted to another type.
    pub fn map<U>(&self, mut make: impl FnMut(&str) -> U) -> NodeOrders<U> {
        let mut make = |name: &Option<T>| name.as_ref().map(|name| make(name.as_ref()));
        NodeOrders {
            revision: make(&self.revision),
            preflight: make(&self.preflight),
            soak: make(&self.soak),
        }
    }
}

impl NodeOrders {
    /// Reads the annotations of a state object.
    #[must_use]
    pub fn read(annotations: Option<&BTreeMap<String, String>>) -> Self {
        let get = |key| annotations.and_then(|all| all.get(key)).filter(|value| !value.is_empty()).cloned();
        Self { revision: get(REVISION), preflight: get(PREFLIGHT), soak: get(SOAK) }
    }

    /// Returns the annotations for a merge patch, which removes absent orders.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<&'static str, Option<&str>> {
        BTreeMap::from([
            (REVISION, self.revision.as_deref()),
            (PREFLIGHT, self.preflight.as_deref()),
            (SOAK, self.soak.as_deref()),
        ])
    }
}
