//! Computes the status of a state object from the result of a reconciliation.

pub mod condition;
pub mod link;
pub mod notes;
pub mod points;
#[cfg(test)]
mod points_tests;
pub mod program;
pub mod size;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::application::{AppLoadStatus, NodeState};
use bpfman_application::state::node::{NodeDetails, NodeFailure, PreflightAnswer};
use bpfman_apply::node_reason::NodeReason;
use bpfman_apply::report::{LinkOutcome, ProgramReport, Report, ReportedLoad};

use self::condition::{NodeCondition, condition};
use bpfman_runtime::sentence::{list, list_of};

use crate::agent::objects::state::Status;

const LISTED: usize = 5;

/// Context of a status, apart from the state of the programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusContext {
    pub node: String,
    /// Generation of the application; 0 if the verdict applies to none.
    pub generation: i64,
    /// Generation as text, or the revision that the controller ordered.
    pub revision: Option<String>,
    /// Kernel release, as printed by `uname -r`.
    pub kernel: Option<String>,
    pub boot_id: Option<String>,
    /// Hash of the programs that share hooks.
    pub composition: Option<String>,
}

/// Result of reconciling an application.
#[derive(Clone, Debug)]
pub enum ReconcileOutcome<'a> {
    /// Nothing was tried yet.
    Pending(&'a str),
    /// The daemon was called.
    Reported(&'a Report, &'a ApplicationSpec),
    /// The daemon could not be called: the programs are unchanged.
    Unknown(&'a NodeFailure),
    /// The spec could not be applied: the programs are unchanged.
    Refused(&'a NodeFailure),
}

/// Computes the status. `before` is the last written one.
#[must_use]
pub fn status(outcome: &ReconcileOutcome<'_>, about: &StatusContext, before: Option<&Status>) -> Status {
    let (word, message) = words(outcome);
    let conditions = before.map_or(&[][..], |before| &before.node.conditions);
    let last = before.map(|before| &before.node.details);
    let (load, programs, failure) = match *outcome {
        ReconcileOutcome::Pending(_) => (None, None, None),
        ReconcileOutcome::Reported(report, spec) => (
            Some(load_status(report.load)),
            Some(report.programs.iter().filter_map(|one| show(one, spec, before)).collect()),
            failure(report),
        ),
        ReconcileOutcome::Unknown(failure) => (None, None, Some(failure.clone())),
        ReconcileOutcome::Refused(failure) => {
            let loaded =
                before.is_some_and(|before| before.node.app_load_status == AppLoadStatus::LoadSuccess);
            let load = (!loaded).then_some(AppLoadStatus::LoadError);
            (load, None, Some(failure.clone()))
        }
    };
    let mut details = last.cloned().unwrap_or_default();
    details.preflight =
        last.and_then(|last| holding(last, about.kernel.as_deref(), about.boot_id.as_deref())).cloned();
    details.composition = composition(about, last);
    details.observed_revision.clone_from(&about.revision);
    details.kernel = about.kernel.clone().or(details.kernel);
    details.boot_id = about.boot_id.clone().or(details.boot_id);
    details.failure = failure;
    if let ReconcileOutcome::Reported(report, _) = outcome {
        details.digest = Some(report.digest.clone()).filter(|digest| !digest.is_empty());
        details.unmatched = unmatched(report);
    }
    Status {
        node: NodeState {
            update_count: before.map_or(0, |before| before.node.update_count),
            node: about.node.clone(),
            app_load_status: load
                .or_else(|| before.map(|before| before.node.app_load_status))
                .unwrap_or(AppLoadStatus::NotLoaded),
            conditions: vec![condition(word, &message, about.generation, conditions)],
            details,
        },
        programs: programs
            .unwrap_or_else(|| before.map(|before| before.programs.clone()).unwrap_or_default()),
    }
}

/// Returns the last preflight answer if it is of this kernel and boot, as far as they are known.
#[must_use]
pub fn holding<'a>(
    last: &'a NodeDetails,
    kernel: Option<&str>,
    boot_id: Option<&str>,
) -> Option<&'a PreflightAnswer> {
    let other = |now: Option<&str>, then: &Option<String>| now.is_some() && now != then.as_deref();
    let stale = other(kernel, &last.kernel) || other(boot_id, &last.boot_id);
    last.preflight.as_ref().filter(|_| !stale)
}

/// Returns the composition; `None` without shared hooks, because the API server refuses an empty text.
fn composition(about: &StatusContext, last: Option<&NodeDetails>) -> Option<String> {
    match &about.composition {
        Some(now) => Some(now.clone()).filter(|now| !now.is_empty()),
        None => last.and_then(|last| last.composition.clone()),
    }
}

/// Returns whether two statuses are equal apart from the update count and the time of the condition.
#[must_use]
pub fn same(one: &Status, other: &Status) -> bool {
    let comparable = |status: &Status| {
        let mut status = status.clone();
        status.node.update_count = 0;
        for condition in &mut status.node.conditions {
            condition.last_transition_time = condition::epoch();
        }
        status
    };
    comparable(one) == comparable(other)
}

fn words(outcome: &ReconcileOutcome<'_>) -> (NodeCondition, String) {
    let report = match *outcome {
        ReconcileOutcome::Pending(why) => return (NodeCondition::Pending, why.to_owned()),
        ReconcileOutcome::Unknown(failure) | ReconcileOutcome::Refused(failure) => {
            return (NodeCondition::Error, sentence(failure));
        }
        ReconcileOutcome::Reported(report, _) => report,
    };
    match (report.load, failure(report)) {
        (ReportedLoad::UnloadFailed, found) => {
            let why = found.as_ref().map_or_else(|| "the daemon gave no reason".to_owned(), sentence);
            (
                NodeCondition::UnloadError,
                format!("programs could not be unloaded, and are tried again: {why}"),
            )
        }
        (ReportedLoad::NotWanted, None) => {
            (NodeCondition::Unloaded, "nothing of this application is loaded here".to_owned())
        }
        (ReportedLoad::Loaded, None) => {
            let all = "all programs are loaded, and attached as asked";
            let unmatched = unmatched(report);
            let text = match unmatched.as_slice() {
                [] => all.to_owned(),
                some => {
                    format!("{all}; no pod or container of this node is selected by {}", list(some, LISTED))
                }
            };
            (NodeCondition::Success, text)
        }
        (ReportedLoad::OlderRuns, Some(found)) => {
            (NodeCondition::Error, format!("the version before runs on: {}", sentence(&found)))
        }
        (ReportedLoad::Loaded, Some(_)) => (NodeCondition::Error, failures(report)),
        (_, Some(found)) => (NodeCondition::Error, sentence(&found)),
        (_, None) => (
            NodeCondition::Error,
            "the programs could not be loaded, and the daemon gave no reason".to_owned(),
        ),
    }
}

fn unmatched(report: &Report) -> Vec<String> {
    let of = |program: &ProgramReport| {
        let name = program.name.clone();
        program.unmatched.clone().into_iter().map(move |field| format!("{name}: {field}"))
    };
    report.programs.iter().flat_map(of).collect()
}

const fn load_status(load: ReportedLoad) -> AppLoadStatus {
    match load {
        ReportedLoad::NotWanted => AppLoadStatus::UnloadSuccess,
        ReportedLoad::Loaded => AppLoadStatus::LoadSuccess,
        ReportedLoad::OlderRuns | ReportedLoad::Failed => AppLoadStatus::LoadError,
        ReportedLoad::UnloadFailed => AppLoadStatus::UnloadError,
    }
}

/// Returns the first failure, including a link that does not run and an attach point that was not found.
#[must_use]
pub fn failure(report: &Report) -> Option<NodeFailure> {
    let missing = || {
        let program = report.programs.iter().find(|program| !program.problems.is_empty())?;
        let failure = NodeReason::AttachPoint.failure(program.problems.first()?, "");
        Some(NodeFailure { program: program.name.clone(), ..failure })
    };
    // A link may not run although every call succeeded: the kernel refused it after a boot, or its interface is gone.
    let not_running = || {
        let mut links = report.programs.iter().flat_map(|one| one.links.iter().map(move |link| (one, link)));
        links.find_map(|(program, link)| match &link.status {
            LinkOutcome::AttachFailed(failure) | LinkOutcome::DetachFailed(failure) => {
                Some(NodeFailure { program: program.name.clone(), ..failure.clone() })
            }
            LinkOutcome::Attached | LinkOutcome::NotAttached => None,
        })
    };
    report.failure.clone().or_else(not_running).or_else(missing)
}

fn sentence(failure: &NodeFailure) -> String {
    let program = if failure.program.is_empty() { String::new() } else { format!("{}: ", failure.program) };
    let hint = if failure.hint.is_empty() { String::new() } else { format!(" ({})", failure.hint) };
    format!("{program}{}{hint}", failure.message)
}

fn failures(report: &Report) -> String {
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    for program in &report.programs {
        all.extend(program.problems.iter().map(|problem| format!("{}: {problem}", program.name)));
        for link in &program.links {
            if let LinkOutcome::AttachFailed(failure) | LinkOutcome::DetachFailed(failure) = &link.status {
                let failure = NodeFailure { program: program.name.clone(), ..failure.clone() };
                let line = sentence(&failure);
                if seen.insert(line.clone()) {
                    all.push(line);
                }
            }
        }
    }
    if all.is_empty() {
        return failure(report).as_ref().map(sentence).unwrap_or_default();
    }
    list_of(&all, LISTED, all.len(), "; ")
}

fn show(
    report: &ProgramReport,
    spec: &ApplicationSpec,
    before: Option<&Status>,
) -> Option<bpfman_application::state::program::ClusterProgramState> {
    let before =
        before.and_then(|before| before.programs.iter().find(|program| program.program.name == report.name));
    let told = spec.programs.iter().find(|program| program.name == report.name);
    program::program(report, told, before)
}
