use std::collections::{BTreeMap, HashMap};

use bpfman_application::rollout::{Gates, RolloutStatus};
use bpfman_application::summary::Summary;
use serde::Serialize;

use super::rights::FleetPermissions;
use crate::controller::memory::{Memory, View};
use crate::controller::projection::text::SharedText;
use crate::controller::projection::{NodeAnswer, NodeOutcome};

const GATE_ANSWERS: usize = 20;

/// Fleet as the console's page shows it.
#[derive(Clone, Debug, Serialize)]
pub struct FleetFacts {
    /// Name of the user who sent the request.
    pub user: String,
    /// True if the controller has read all objects once. Before that, a missing object may still exist.
    pub complete: bool,
    /// Nodes; null if the user may not list nodes.
    pub nodes: Option<FleetNodes>,
    /// Applications that the user may see, by name.
    pub applications: Vec<FleetApplication>,
}

#[derive(Clone, Debug, Serialize)]
pub struct FleetNodes {
    pub names: Vec<String>,
    pub kernels: Vec<String>,
    pub kernel_of: Vec<usize>,
    pub ready: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct FleetApplication {
    pub scope: &'static str,
    pub namespace: Option<String>,
    pub name: String,
    pub condition: String,
    pub message: String,
    pub summary: Option<Summary>,
    pub rollout: Option<RolloutStatus>,
    pub gates: Option<Gates>,
    pub gate_answers: Vec<GateAnswer>,
    pub may_change: bool,
    pub cells: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct GateAnswer {
    pub within: bool,
    pub message: String,
    pub nodes: usize,
    pub example: String,
}

impl FleetFacts {
    /// Collects the part of a fleet that a user may see.
    #[must_use]
    pub fn new(memory: &Memory, sight: &FleetPermissions) -> Self {
        let mut ordered: Vec<_> = memory.nodes().map(|(name, node)| (&node.kernel, name, node)).collect();
        ordered.sort_by_key(|(kernel, name, _)| (*kernel, *name));
        let nodes = sight.nodes.then(|| {
            let mut kernels: Vec<SharedText> = ordered.iter().map(|(kernel, ..)| (*kernel).clone()).collect();
            kernels.dedup();
            let place: HashMap<&SharedText, usize> =
                kernels.iter().enumerate().map(|(place, kernel)| (kernel, place)).collect();
            FleetNodes {
                names: ordered.iter().map(|(_, name, _)| name.to_string()).collect(),
                kernel_of: ordered
                    .iter()
                    .map(|(kernel, ..)| place.get(kernel).copied().unwrap_or(0))
                    .collect(),
                ready: ordered.iter().map(|(.., node)| if node.ready { '1' } else { '0' }).collect(),
                kernels: kernels.iter().map(ToString::to_string).collect(),
            }
        });
        let mut applications: Vec<FleetApplication> = memory
            .applications()
            .filter(|view| sight.sees(view.application.namespace.as_deref()))
            .map(|view| {
                let mut one = FleetApplication::new(view, sight);
                if sight.nodes {
                    let answers = view.answer_of_each();
                    let letter = |name: &SharedText, node| match view.application.selects(node) {
                        false => '0',
                        true => cell(view, answers.get(&**name).copied()),
                    };
                    one.cells = Some(ordered.iter().map(|(_, name, node)| letter(name, node)).collect());
                }
                one
            })
            .collect();
        applications.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        Self { user: sight.user.clone(), complete: memory.complete(), nodes, applications }
    }
}

impl FleetApplication {
    fn new(view: View<'_>, sight: &FleetPermissions) -> Self {
        let application = view.application;
        let status = application.typed_status();
        let condition = status.verdict().map(|(_, condition)| condition);
        let key = (application.namespace.clone(), application.name.clone());
        Self {
            scope: if application.namespace.is_some() { "namespaced" } else { "cluster" },
            namespace: application.namespace.clone(),
            name: application.name.clone(),
            condition: condition.map_or("Unknown", |one| one.type_.as_str()).to_owned(),
            message: condition
                .map_or("no controller has looked at it yet", |one| one.message.as_str())
                .to_owned(),
            gate_answers: if application.rollout.is_some() {
                gate_answers(view, sight.nodes)
            } else {
                Vec::new()
            },
            gates: application.rollout.as_ref().and_then(|rollout| rollout.gates.clone()),
            summary: status.summary,
            rollout: status.rollout,
            may_change: sight.may_change.contains(&key),
            cells: None,
        }
    }
}

/// Returns the state of an application on a node: `1` runs the wanted revision, `2` changing, `3` no answer,
/// `4` failed. The caller adds `0`, not selected.
fn cell(view: View<'_>, answer: Option<&NodeAnswer>) -> char {
    let Some(answer) = answer else { return '3' };
    match answer.outcome {
        NodeOutcome::Error => '4',
        NodeOutcome::Success if runs_wanted(view, answer) => '1',
        NodeOutcome::Success | NodeOutcome::Pending | NodeOutcome::Unloaded | NodeOutcome::NotSelected => '2',
    }
}

pub(super) fn runs_wanted(view: View<'_>, answer: &NodeAnswer) -> bool {
    match (&view.application.rollout, &answer.orders.revision) {
        (Some(_), Some(wanted)) => answer.revision.as_ref() == Some(wanted),
        (Some(_), None) => true,
        (None, _) => {
            let generation = view.application.generation;
            answer.revision.as_deref().is_none_or(|runs| runs == generation.to_string())
        }
    }
}

fn gate_answers(view: View<'_>, names: bool) -> Vec<GateAnswer> {
    let mut groups: BTreeMap<(bool, &str), (usize, &SharedText)> = BTreeMap::new();
    for answer in view.answers() {
        let Some(health) = &answer.health else { continue };
        let wanted = answer.orders.soak.as_deref();
        if wanted.is_none_or(|revision| revision != health.revision) {
            continue;
        }
        groups.entry((health.within, &health.message)).or_insert((0, &answer.node)).0 += 1;
    }
    let mut answers: Vec<GateAnswer> = groups
        .into_iter()
        .map(|((within, message), (nodes, example))| GateAnswer {
            within,
            message: message.to_owned(),
            nodes,
            example: if names { example.to_string() } else { String::new() },
        })
        .collect();
    answers.sort_by_key(|one| (one.within, std::cmp::Reverse(one.nodes)));
    answers.truncate(GATE_ANSWERS);
    answers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bpfman_application::scope::Scope;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::controller::console::ExplainedNode;
    use crate::controller::memory::tests::fixture::{application, empty, node, state};

    fn memory() -> Memory {
        let mut memory = empty();
        for name in ["n1", "n2", "n3", "other"] {
            let tier = if name == "other" { "core" } else { "edge" };
            memory.node(Event::Apply(node(name, json!({ "tier": tier }))));
        }
        let spec = json!({ "nodeSelector": { "matchLabels": { "tier": "edge" } } });
        memory.application(Scope::Cluster, Event::Apply(application("u", 1, spec)));
        memory.answer(Scope::Cluster, Event::Apply(state("u", "n1", "Success", json!({}))));
        let failure = json!({ "failure": { "reason": "signature", "message": "no key" } });
        memory.answer(Scope::Cluster, Event::Apply(state("u", "n2", "Error", failure)));
        memory
    }

    #[test]
    fn each_node_has_a_letter_in_the_order_of_nodes() {
        let sight = FleetPermissions { nodes: true, cluster: true, ..FleetPermissions::default() };
        let facts = FleetFacts::new(&memory(), &sight);
        assert_eq!(facts.nodes.unwrap().names, ["n1", "n2", "n3", "other"]);
        assert_eq!(facts.applications[0].cells.as_deref(), Some("1430"));
        let explained = ExplainedNode::new(&memory(), &sight, "n2").unwrap();
        assert_eq!(explained.applications[0].outcome, "error");
        assert_eq!(explained.applications[0].failure.as_ref().unwrap()[0], "signature");
        assert!(ExplainedNode::new(&memory(), &sight, "none").is_none());
    }

    #[test]
    fn console_shows_only_permitted_objects() {
        let sight = FleetPermissions { cluster: true, ..FleetPermissions::default() };
        let facts = FleetFacts::new(&memory(), &sight);
        assert!(facts.nodes.is_none() && facts.applications[0].cells.is_none());
        let sight = FleetPermissions {
            nodes: true,
            namespaces: ["shop".to_owned()].into(),
            ..FleetPermissions::default()
        };
        let facts = FleetFacts::new(&memory(), &sight);
        assert!(facts.applications.is_empty() && facts.nodes.is_some());
        assert!(ExplainedNode::new(&memory(), &sight, "n2").unwrap().applications.is_empty());
    }
}
