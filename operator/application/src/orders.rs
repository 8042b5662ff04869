//! What the controller tells one node about one application: annotations of the node's state object.
//!
//! Only for applications with a [`crate::rollout::Rollout`]. The agent reads them, only the controller writes them.

use std::collections::BTreeMap;

/// The revision that the node is to run: the name of a `ControllerRevision`. Absent: the node changes nothing.
pub const REVISION: &str = "bpfman.io/revision";

/// A revision that the node is to load and discard, and to answer about in `status.preflight`.
pub const PREFLIGHT: &str = "bpfman.io/preflight";

/// A revision whose gates the node is to watch, and to answer about in `status.health`.
pub const SOAK: &str = "bpfman.io/soak";

/// Users write `promote` or `abort` into this annotation of an application; the controller removes it when it has acted.
pub const ROLLOUT: &str = "bpfman.io/rollout";

/// Annotation of an application: the number of a `promote` or `abort` and the word, as the controller took it over from
/// [`ROLLOUT`]. The number makes that it is acted on once, whenever the controller is restarted.
pub const ROLLOUT_COMMAND: &str = "bpfman.io/rollout-command";

/// Label of a `ControllerRevision`: uid of its application.
pub const REVISION_OF: &str = "bpfman.io/application-uid";

/// Key of the taint that keeps pods away from a node until its programs are back. Effect `NoSchedule`.
pub const NOT_READY_TAINT: &str = "bpfman.io/not-ready";

/// What the controller wants of a node. `T` is how names are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOrders<T = String> {
    /// Revision to run.
    pub revision: Option<T>,
    /// Revision to load and discard.
    pub preflight: Option<T>,
    /// Revision whose gates to watch.
    pub soak: Option<T>,
}

impl<T: AsRef<str>> NodeOrders<T> {
    /// The same with names held in another way.
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

    /// The annotations as a merge patch takes them: what is absent is removed.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<&'static str, Option<&str>> {
        BTreeMap::from([
            (REVISION, self.revision.as_deref()),
            (PREFLIGHT, self.preflight.as_deref()),
            (SOAK, self.soak.as_deref()),
        ])
    }
}
