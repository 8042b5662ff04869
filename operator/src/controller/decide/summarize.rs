//! Summary of the nodes' answers about one application. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bpfman_application::application::ApplicationVerdict;
use bpfman_application::rollout::{RolloutPhase, RolloutStatus};
use bpfman_application::summary::{FailureCause, Summary};

use crate::controller::memory::View;
use crate::controller::projection::{NodeAnswer, NodeOutcome};
use crate::rollout::revision;
use bpfman_runtime::sentence;

const NAMED: usize = 10;

const CAUSES: usize = 20;

/// Success with a selector that matches no pods or containers anywhere: perhaps a mistake, perhaps not created yet.
pub const SELECTS_NOTHING: &str = "SelectorMatchesNothing";

/// Summary of one application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    pub verdict: ApplicationVerdict,
    /// Reason: the verdict's name as in the published API, or what is missing in a success.
    pub reason: &'static str,
    pub message: String,
    /// Nodes by state.
    pub summary: Summary,
    /// True if no node has any part of it left, so that the object can be deleted.
    pub released: bool,
}

/// Rule that decides whether a node that did not answer has an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A node has an agent if its agent's pod is ready, or if it answered.
    ByPod,
    /// Agents do not run as pods; every node has one.
    Everywhere,
}

/// Revision with which the nodes' answers are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ComparedRevision {
    /// The spec in its current generation.
    #[default]
    Spec,
    /// The revision of a rollout that was decided from the current spec.
    Rollout(Box<RolloutStatus>),
    /// The revision of the current spec is not known yet, so no verdict is possible.
    Unknown,
}

impl ComparedRevision {
    /// Creates the aim from a rollout's status, if there is one.
    #[must_use]
    pub fn of(rollout: Option<RolloutStatus>) -> Self {
        rollout.map_or(Self::Spec, |rollout| Self::Rollout(Box::new(rollout)))
    }
}

/// Summarizes one application.
#[must_use]
pub fn summarize(view: View<'_>, aim: &ComparedRevision, presence: Presence) -> Sum {
    let unknown = RolloutStatus::default();
    let rollout = match aim {
        ComparedRevision::Spec => None,
        ComparedRevision::Rollout(rollout) => Some(&**rollout),
        ComparedRevision::Unknown => Some(&unknown),
    };
    let counted = Count::new(view, rollout, presence);
    let released = !view.answers().any(|answer| answer.has_finalizer);
    let (verdict, mut message) =
        if view.application.deleting { counted.deleting(view) } else { counted.staying(view, rollout) };
    let mut reason = verdict.text();
    if let (ApplicationVerdict::Success, Some(unmatched)) = (verdict, &counted.unmatched)
        && !unmatched.is_empty()
    {
        let fields: Vec<&str> = unmatched.iter().copied().collect();
        reason = SELECTS_NOTHING;
        message =
            format!("{message} But no pod or container on any of them is selected by {}.", list(&fields));
    }
    Sum { verdict, reason, message, released, summary: counted.summary }
}

#[derive(Default)]
struct Count<'a> {
    summary: Summary,
    failed: Vec<&'a str>,
    failed_before: Vec<&'a str>,
    pending: Vec<&'a str>,
    without_agent: Vec<&'a str>,
    unmatched: Option<BTreeSet<&'a str>>,
}

impl<'a> Count<'a> {
    fn new(view: View<'a>, rollout: Option<&RolloutStatus>, presence: Presence) -> Self {
        let generation = view.application.generation.to_string();
        let current = match rollout {
            Some(rollout) => rollout.target_revision.as_deref().or(rollout.stable_revision.as_deref()),
            None => Some(generation.as_str()),
        };
        let agents: HashSet<&str> = match presence {
            Presence::ByPod => view.agents().map(|node| &**node).collect(),
            Presence::Everywhere => HashSet::new(),
        };
        let mut by_node = view.answer_of_each();
        let mut count = Self::default();
        let mut causes = Causes::default();
        let summary = &mut count.summary;
        for (name, node) in view.selected() {
            let Some(answer) = by_node.remove(&**name) else {
                if presence == Presence::Everywhere || agents.contains(&**name) {
                    summary.wanted += 1;
                    count.pending.push(name);
                } else {
                    count.without_agent.push(name);
                }
                continue;
            };
            summary.wanted += 1;
            let newest = answer.generation == Some(view.application.generation);
            let updated = match &answer.revision {
                Some(name) => {
                    current.is_some_and(|current| revision::covers(name, answer.digest.as_deref(), current))
                }
                // An agent of the published operator reports no generation, and knows no revisions.
                None => newest || (answer.generation.is_none() && rollout.is_none()),
            };
            match answer.outcome {
                NodeOutcome::Error => {
                    summary.failed += 1;
                    if updated || newest {
                        count.failed.push(&answer.object);
                    } else {
                        count.failed_before.push(&answer.object);
                        count.pending.push(&answer.object);
                    }
                    causes.add(answer, answer.kernel.as_deref().unwrap_or(&node.kernel));
                }
                NodeOutcome::Success => {
                    summary.updated += i32::from(updated);
                    summary.healthy += 1;
                    let here: BTreeSet<&str> = answer.unmatched.iter().map(|field| &**field).collect();
                    count.unmatched = Some(match count.unmatched.take() {
                        Some(others) => &others & &here,
                        None => here,
                    });
                    if !updated {
                        count.pending.push(&answer.object);
                    }
                }
                NodeOutcome::Pending | NodeOutcome::Unloaded | NodeOutcome::NotSelected => {
                    count.pending.push(&answer.object)
                }
            }
        }
        // The remaining answers are of nodes that are not selected: only failures to unload matter.
        for answer in by_node.values().filter(|answer| answer.outcome == NodeOutcome::Error) {
            let Some(node) = view.node(&answer.node) else { continue };
            count.failed.push(&answer.object);
            causes.add(answer, answer.kernel.as_deref().unwrap_or(&node.kernel));
        }
        summary.ready = format!("{}/{}", summary.healthy, summary.wanted);
        summary.causes = causes.most_frequent();
        for names in
            [&mut count.failed, &mut count.failed_before, &mut count.pending, &mut count.without_agent]
        {
            names.sort_unstable();
        }
        count
    }

    fn staying(&self, view: View<'_>, rollout: Option<&RolloutStatus>) -> (ApplicationVerdict, String) {
        if let Err(error) = &view.application.selector {
            return (ApplicationVerdict::Error, error.to_string());
        }
        let Summary { wanted, updated, .. } = self.summary;
        let agentless = match self.without_agent.as_slice() {
            [] => String::new(),
            names => format!(" Selected, but no agent is ready there: {}.", list(names)),
        };
        let cause = self.summary.causes.first().map_or(String::new(), |cause| {
            format!(
                " Most often {} on kernel {} ({}): {}",
                cause.reason, cause.kernel, cause.nodes, cause.message
            )
        });
        if !self.failed.is_empty() {
            let message = format!("{} of {wanted} nodes failed: {}.", self.failed.len(), list(&self.failed));
            return (ApplicationVerdict::Error, format!("{message}{agentless}{cause}"));
        }
        if let Some(message) = rollout.and_then(failed_rollout) {
            return (ApplicationVerdict::Error, message);
        }
        let unfinished = rollout.filter(|rollout| rollout.phase != RolloutPhase::Idle);
        // A rollout that soaks or waits for a user may still be rolled back.
        if !self.pending.is_empty() || (unfinished.is_some() && wanted > 0) {
            let waiting = match unfinished {
                Some(rollout) => {
                    format!("Rollout, wave {} of {}: {}", rollout.wave, rollout.waves, rollout.message)
                }
                None => format!("Waiting for {}.", list(&self.pending)),
            };
            let before = match self.failed_before.as_slice() {
                [] => String::new(),
                names => format!(" Failed with what they had before: {}.{cause}", list(names)),
            };
            return (
                ApplicationVerdict::Pending,
                format!("{updated} of {wanted} nodes are done. {waiting}{before}{agentless}"),
            );
        }
        match (wanted, self.without_agent.as_slice()) {
            (0, []) => (ApplicationVerdict::Success, "No node is selected.".to_owned()),
            (0, _) => {
                (ApplicationVerdict::Pending, format!("No node that is selected has an agent.{agentless}"))
            }
            _ => (
                ApplicationVerdict::Success,
                format!("Loaded and attached on all {wanted} nodes.{agentless}"),
            ),
        }
    }

    fn deleting(&self, view: View<'_>) -> (ApplicationVerdict, String) {
        let mut holding: Vec<&NodeAnswer> = view.answers().filter(|answer| answer.has_finalizer).collect();
        holding.sort_unstable_by(|one, other| one.object.cmp(&other.object));
        if holding.is_empty() {
            return (ApplicationVerdict::Pending, "Unloaded from all nodes.".to_owned());
        }
        let names: Vec<&str> = holding.iter().map(|answer| &*answer.object).collect();
        let why = holding.iter().find_map(|answer| Some((&answer.object, answer.failure.as_ref()?)));
        let why = why.map_or(String::new(), |(object, failure)| {
            format!(" {object}: {}: {}", failure.reason, failure.message)
        });
        (
            ApplicationVerdict::DeleteError,
            format!("Not yet unloaded on {} nodes: {}.{why}", names.len(), list(&names)),
        )
    }
}

/// Returns the failure of a rollout. A rollback to the revision of the current spec is none.
fn failed_rollout(rollout: &RolloutStatus) -> Option<String> {
    let ended = matches!(rollout.phase, RolloutPhase::RollingBack | RolloutPhase::Idle);
    let failed = rollout.phase == RolloutPhase::Failed || (ended && rollout.failed_revision.is_some());
    failed.then(|| format!("The rollout failed: {}", rollout.message))
}

fn list(names: &[&str]) -> String {
    sentence::list(names, NAMED)
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

#[derive(Default)]
struct Causes<'a> {
    groups: BTreeMap<(&'a str, &'a str), (i32, &'a NodeAnswer)>,
}

impl<'a> Causes<'a> {
    fn add(&mut self, answer: &'a NodeAnswer, kernel: &'a str) {
        let Some(failure) = &answer.failure else { return };
        let (nodes, example) = self.groups.entry((&failure.reason, kernel)).or_insert((0, answer));
        *nodes += 1;
        // Choose the same example each time, so that the status does not change with the order of events.
        if answer.node < example.node {
            *example = answer;
        }
    }

    fn most_frequent(self) -> Vec<FailureCause> {
        let cause = |((reason, kernel), (nodes, example)): ((&str, &str), (i32, &NodeAnswer))| FailureCause {
            reason: or_unknown(reason),
            kernel: or_unknown(kernel),
            nodes,
            example: example.node.to_string(),
            message: or_unknown(example.failure.as_ref().map_or("", |failure| &failure.message)),
        };
        let mut causes: Vec<FailureCause> = self.groups.into_iter().map(cause).collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.nodes));
        causes.truncate(CAUSES);
        causes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
