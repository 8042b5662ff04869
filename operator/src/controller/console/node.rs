use bpfman_application::state::node::{HealthAnswer, PreflightAnswer};
use serde::Serialize;

use super::fleet::runs_wanted;
use super::rights::FleetPermissions;
use crate::controller::memory::{Memory, View};
use crate::controller::projection::{NodeAnswer, NodeOutcome};

/// Node as the page explains it.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedNode {
    pub name: String,
    /// Kernel release, as printed by `uname -r`.
    pub kernel: String,
    /// True if Kubernetes reports the node as ready.
    pub ready: bool,
    /// True if a taint keeps pods away until the node's programs are back.
    pub tainted: bool,
    /// True if the pod of its agent is ready.
    pub agent_ready: bool,
    /// Applications that select the node, or that still have something on it.
    pub applications: Vec<ApplicationOnNode>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ApplicationOnNode {
    pub name: String,
    pub selected: bool,
    pub outcome: &'static str,
    pub wanted: String,
    pub runs: Option<String>,
    pub as_wanted: bool,
    pub digest: Option<String>,
    pub failure: Option<[String; 3]>,
    pub unmatched: Vec<String>,
    pub preflight: Option<PreflightAnswer>,
    pub gates: Option<HealthAnswer>,
}

impl ExplainedNode {
    /// Explains a node. Returns `None` if there is no node of this name.
    #[must_use]
    pub fn new(memory: &Memory, sight: &FleetPermissions, name: &str) -> Option<Self> {
        let node = memory.find_node(name)?;
        let seen = memory.applications().filter(|view| sight.sees(view.application.namespace.as_deref()));
        let mut applications: Vec<_> = seen
            .filter_map(|view| {
                let answer = view.answer_of_each().get(name).copied();
                let selected = view.application.selects(node);
                (selected || answer.is_some()).then(|| ApplicationOnNode::new(view, answer, selected))
            })
            .collect();
        applications.sort_by(|one, other| one.name.cmp(&other.name));
        Some(Self {
            name: name.to_owned(),
            kernel: node.kernel.to_string(),
            ready: node.ready,
            tainted: node.tainted,
            agent_ready: memory.agents().any(|agent| &**agent == name),
            applications,
        })
    }
}

impl ApplicationOnNode {
    fn new(view: View<'_>, answer: Option<&NodeAnswer>, selected: bool) -> Self {
        let ordered = answer.and_then(|answer| answer.orders.revision.clone());
        let wanted = match (&view.application.rollout, ordered) {
            _ if !selected => "nothing: the node is not selected".to_owned(),
            (None, _) => format!("generation {}", view.application.generation),
            (Some(_), Some(revision)) => revision.to_string(),
            (Some(_), None) => "what it runs: its turn in the rollout has not come".to_owned(),
        };
        let failure = answer.and_then(|answer| answer.failure.as_ref());
        Self {
            name: view.application.full_name(),
            selected,
            outcome: answer.map_or("nothing heard", |answer| word(answer.outcome)),
            wanted,
            runs: answer.and_then(|answer| answer.revision.as_deref().map(str::to_owned)),
            as_wanted: answer.is_some_and(|answer| runs_wanted(view, answer)),
            digest: answer.and_then(|answer| answer.digest.as_deref().map(str::to_owned)),
            failure: failure.map(|one| [&one.reason, &one.program, &one.message].map(ToString::to_string)),
            unmatched: answer
                .map(|answer| answer.unmatched.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            preflight: answer.and_then(|answer| answer.preflight.as_deref().cloned()),
            gates: answer.and_then(|answer| answer.health.as_deref().cloned()),
        }
    }
}

const fn word(outcome: NodeOutcome) -> &'static str {
    match outcome {
        NodeOutcome::Pending => "pending",
        NodeOutcome::Success => "success",
        NodeOutcome::Error => "error",
        NodeOutcome::Unloaded => "unloaded",
        NodeOutcome::NotSelected => "not selected",
    }
}
