use bpfman_application::orders::NodeOrders;
use bpfman_application::scope::Scope;
use bpfman_application::state::NODE_LABEL;
use bpfman_application::state::node::{HealthAnswer, NodeFailure, PreflightAnswer};

use super::text::{Interner, SharedText};
use super::wire::{StateStatus, WireState};

/// Finalizers that agents put on state objects.
pub const STATE_FINALIZERS: [&str; 2] = [Scope::Cluster.finalizer(), Scope::Namespaced.finalizer()];

/// Limit in bytes that keeps an answer below 1 KiB.
const MESSAGE_LIMIT: usize = 400;

/// Stored fields of a state object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAnswer {
    pub object: SharedText,
    /// Namespace of the state object, if its application has one.
    pub namespace: Option<SharedText>,
    /// Resource version of the state object. [`Self::same`] ignores it.
    pub version: SharedText,
    pub node: SharedText,
    /// True if the object has the agent's finalizer.
    pub has_finalizer: bool,
    /// True if the object is being deleted.
    pub deleting: bool,
    /// State of the application on the node.
    pub outcome: NodeOutcome,
    /// Generation of the application, or revision ordered by the controller, to which the answer applies.
    pub revision: Option<SharedText>,
    /// Generation of the condition; of an `Error`, it may be newer than `revision`, which keeps running.
    pub generation: Option<i64>,
    /// Kernel release, as printed by `uname -r`.
    pub kernel: Option<SharedText>,
    /// Boot in which the status was written.
    pub boot_id: Option<SharedText>,
    /// Digest of the image that runs.
    pub digest: Option<SharedText>,
    /// Hash of the programs that share hooks with this application on the node.
    pub composition: Option<SharedText>,
    /// Failure, if the outcome is `Error`.
    pub failure: Option<Box<KeptFailure>>,
    /// Attachments with a selector that matches nothing on the node.
    pub unmatched: Vec<SharedText>,
    /// Answer to a preflight order.
    pub preflight: Option<Box<PreflightAnswer>>,
    /// Answer to the order to watch the gates.
    pub health: Option<Box<HealthAnswer>>,
    pub orders: NodeOrders<SharedText>,
}

/// State of an application on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeOutcome {
    /// Not finished yet.
    Pending,
    /// Everything is loaded and attached.
    Success,
    /// A program or an attachment failed.
    Error,
    /// Everything is unloaded, since the application is being deleted.
    Unloaded,
    /// The node reports that it is not selected.
    NotSelected,
}

/// Stored part of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFailure {
    /// Kind of failure, as the daemon names it.
    pub reason: SharedText,
    /// Program that failed; empty if all failed.
    pub program: SharedText,
    /// First line of the message.
    pub message: SharedText,
}

impl NodeAnswer {
    /// Extracts the stored fields of a state object.
    #[must_use]
    pub fn new(wire: &WireState, interner: &mut Interner) -> Self {
        let empty = StateStatus::default();
        let (metadata, status) = (&wire.metadata, wire.status.as_ref().unwrap_or(&empty));
        // A state object has no status until its agent wrote one, but its label has the node from the start.
        let label =
            metadata.labels.as_ref().and_then(|labels| labels.get(NODE_LABEL)).map_or("", String::as_str);
        let node = if status.node.is_empty() { label } else { &status.node };
        let outcome = outcome(status);
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        Self {
            object: metadata.name.as_deref().unwrap_or_default().into(),
            namespace: interner.optional(metadata.namespace.as_deref()),
            version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            node: interner.intern(node),
            has_finalizer: finalizers.iter().any(|finalizer| STATE_FINALIZERS.contains(&finalizer.as_str())),
            deleting: metadata.deletion_timestamp.is_some(),
            outcome,
            revision: interner.optional(status.observed_revision.as_deref()),
            generation: status.conditions.first().and_then(|condition| condition.observed_generation),
            kernel: interner.optional(status.kernel.as_deref()),
            boot_id: interner.optional(status.boot_id.as_deref()),
            digest: interner.optional(status.digest.as_deref()),
            composition: interner.optional(status.composition.as_deref()),
            failure: (outcome == NodeOutcome::Error).then(|| Box::new(failure(status, interner))),
            unmatched: status.unmatched.iter().map(|field| interner.intern(field)).collect(),
            preflight: status.preflight.clone().map(|answer| {
                let message = first_line(&answer.message).to_owned();
                PreflightAnswer { message, ..answer }.into()
            }),
            health: status.health.clone().map(|answer| {
                let message = first_line(&answer.message).to_owned();
                HealthAnswer { message, ..answer }.into()
            }),
            orders: NodeOrders::read(metadata.annotations.as_ref()).map(|name| interner.intern(name)),
        }
    }

    /// Returns the scope of the application.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        if self.namespace.is_some() { Scope::Namespaced } else { Scope::Cluster }
    }

    /// Returns whether both answers are equal apart from the resource version.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Self { version: other.version.clone(), ..self.clone() } == *other
    }
}

fn outcome(status: &StateStatus) -> NodeOutcome {
    let condition = status.conditions.first().map_or("", |condition| condition.type_.as_str());
    match (status.app_load_status.as_str(), condition) {
        ("NotSelected", "Success" | "") => NodeOutcome::NotSelected,
        (_, "Success") => NodeOutcome::Success,
        (_, "Unloaded") => NodeOutcome::Unloaded,
        (_, "Pending" | "") => NodeOutcome::Pending,
        _ => NodeOutcome::Error,
    }
}

/// Returns the failure. Agents of the published operator report only the load status and a fixed text.
fn failure(status: &StateStatus, interner: &mut Interner) -> KeptFailure {
    let (reason, program, message) = match &status.failure {
        Some(NodeFailure { reason, program, message, .. }) => (reason, program.as_str(), message.as_str()),
        None => {
            let message = status.conditions.first().map_or("", |condition| &condition.message);
            (&status.app_load_status, "", message)
        }
    };
    KeptFailure {
        reason: interner.intern(reason),
        program: interner.intern(program),
        message: interner.intern(first_line(message)),
    }
}

fn first_line(message: &str) -> &str {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    &line[..line.floor_char_boundary(MESSAGE_LIMIT)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use bpfman_application::rollout::PreflightVerdict;
    use serde_json::{Value, json};

    use super::*;

    fn answer(object: Value) -> NodeAnswer {
        NodeAnswer::new(&serde_json::from_value(object).unwrap(), &mut Interner::default())
    }

    fn with_status(status: Value) -> NodeAnswer {
        answer(json!({ "metadata": { "name": "app-1" }, "status": status }))
    }

    #[test]
    fn a_new_state_object_is_pending_on_the_node_of_its_label() {
        let answer = answer(json!({
            "metadata": { "name": "app-1", "labels": { NODE_LABEL: "n1" }, "finalizers": [STATE_FINALIZERS[0]] }
        }));
        assert_eq!((answer.outcome, &*answer.node), (NodeOutcome::Pending, "n1"));
        assert!(answer.has_finalizer && !answer.deleting);
    }

    #[test]
    fn outcomes_are_read_from_the_one_condition() {
        for (load, condition, expected) in [
            ("LoadSuccess", "Success", NodeOutcome::Success),
            ("LoadSuccess", "Pending", NodeOutcome::Pending),
            ("NotLoaded", "Pending", NodeOutcome::Pending),
            ("LoadError", "Error", NodeOutcome::Error),
            ("UnloadSuccess", "Unloaded", NodeOutcome::Unloaded),
            ("NotSelected", "Success", NodeOutcome::NotSelected),
            ("NotSelected", "Error", NodeOutcome::Error),
            ("ProgramListChangedError", "ProgramListChangedError", NodeOutcome::Error),
        ] {
            let status =
                json!({ "appLoadStatus": load, "conditions": [{ "type": condition, "status": "True" }] });
            assert_eq!(with_status(status).outcome, expected, "{load} {condition}");
        }
    }

    #[test]
    fn of_a_failure_the_first_telling_line_is_kept() {
        let long = format!("\n  R1 invalid mem access 'scalar' {}\nprocessed 12 insns", "é".repeat(400));
        let failure = json!({ "reason": "kernel-refused", "program": "pass", "message": long });
        let conditions = json!([{ "type": "Error", "status": "True" }]);
        let answer = with_status(json!({ "conditions": conditions, "failure": failure }));
        let failure = answer.failure.unwrap();
        assert!(failure.message.starts_with("R1 invalid mem access 'scalar' é"), "{failure:?}");
        assert!(failure.message.len() <= MESSAGE_LIMIT && !failure.message.contains("processed"));
    }

    #[test]
    fn a_failure_without_details_has_the_load_status_for_its_reason() {
        let answer = with_status(json!({
            "appLoadStatus": "LoadError",
            "conditions": [{ "type": "Error", "status": "True", "message": "it failed" }]
        }));
        let failure = answer.failure.unwrap();
        assert_eq!((&*failure.reason, &*failure.message), ("LoadError", "it failed"));
    }

    #[test]
    fn orders_and_answers_to_them_are_kept() {
        let answer = answer(json!({
            "metadata": { "name": "a", "annotations": { "bpfman.io/revision": "r2", "bpfman.io/soak": "" } },
            "status": {
                "node": "n1",
                "preflight": { "revision": "r2", "verdict": "Failed", "message": "too old" },
                "health": { "revision": "r1", "within": true }
            }
        }));
        assert_eq!(answer.orders.revision.as_deref(), Some("r2"));
        assert_eq!(answer.orders.soak, None);
        assert_eq!(answer.preflight.unwrap().verdict, PreflightVerdict::Failed);
        assert!(answer.health.unwrap().within);
    }

    #[test]
    fn an_object_of_another_version_is_read_as_far_as_it_goes() {
        let answer = with_status(json!({ "node": "n1", "appLoadStatus": "Levitating", "programs": 7 }));
        assert_eq!(answer.outcome, NodeOutcome::Pending);
    }

    #[test]
    fn an_answer_stays_below_a_kibibyte_with_its_longest_message() {
        let own = size_of::<NodeAnswer>() + size_of::<KeptFailure>() + 63 + MESSAGE_LIMIT;
        assert!(own <= 1024, "{own} bytes");
    }

    #[test]
    fn equal_texts_are_shared_between_answers() {
        let mut interner = Interner::default();
        let mut make = |name: &str| {
            let object =
                json!({ "metadata": { "name": name }, "status": { "node": "n1", "kernel": "6.1.0" } });
            NodeAnswer::new(&serde_json::from_value(object).unwrap(), &mut interner)
        };
        let (first, second) = (make("a"), make("b"));
        assert!(Arc::ptr_eq(&first.node, &second.node));
        assert!(Arc::ptr_eq(&first.kernel.unwrap(), &second.kernel.unwrap()));
    }
}
