//! Decisions about an application: from its summary to the changes of its object. Pure.

pub mod pace;
pub mod summarize;

use bpfman_application::application::{ApplicationStatus, ApplicationVerdict};
use bpfman_application::summary::Summary;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::controller::decide::pace::only_counts;
use crate::controller::decide::summarize::{ComparedRevision, Presence, Sum, summarize};
use crate::controller::memory::View;
use crate::controller::projection::APPLICATION_FINALIZER;
use bpfman_application::condition::{Conditions, Readiness};
use bpfman_runtime::note::Note;
use bpfman_runtime::patch::difference;

/// Changes to make for one application.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// New finalizers, if they differ.
    pub finalizers: Option<Vec<String>>,
    /// Merge patch of the status, if it changed.
    pub status: Option<Value>,
    /// True if only counts changed, so that the write can be delayed.
    pub only_counts: bool,
    /// Events to publish.
    pub notes: Vec<Note>,
    /// Nodes by state.
    pub summary: Summary,
    /// Message, if nodes still run parts of an application that is being deleted.
    pub stuck: Option<String>,
}

/// Decides about one application; `aim` is the revision that its nodes should run after this round. A status is written
/// only with a verdict on the spec of its `observedGeneration`.
#[must_use]
pub fn decide(view: View<'_>, aim: ComparedRevision, presence: Presence, now: Timestamp) -> Plan {
    let application = view.application;
    let old = application.typed_status();
    let sum = summarize(view, &aim, presence);
    let new = match aim {
        ComparedRevision::Unknown => None,
        ComparedRevision::Spec => Some(None),
        ComparedRevision::Rollout(rollout) => Some(Some(*rollout)),
    };
    let new = new.map(|rollout| ApplicationStatus {
        conditions: conditions(
            &sum,
            Conditions { old: &old.conditions, generation: application.generation, now },
        ),
        observed_generation: Some(application.generation),
        summary: Some(sum.summary.clone()),
        rollout,
    });
    let finalizers = match (application.deleting, application.has_finalizer()) {
        (false, false) => {
            Some(application.finalizers.iter().cloned().chain([APPLICATION_FINALIZER.into()]).collect())
        }
        (true, true) if sum.released => Some(
            application.finalizers.iter().filter(|name| *name != APPLICATION_FINALIZER).cloned().collect(),
        ),
        _ => None,
    };
    let leaves =
        application.deleting && finalizers.as_ref().map_or(!application.has_finalizer(), Vec::is_empty);
    Plan {
        // An object that is about to disappear needs no last status.
        status: new.as_ref().filter(|_| !leaves).and_then(|new| status_patch(&application.status, &old, new)),
        only_counts: new.as_ref().is_some_and(|new| only_counts(&old, new)),
        notes: if new.is_some() { notes(&old, &sum) } else { Vec::new() },
        stuck: (sum.verdict == ApplicationVerdict::DeleteError).then(|| sum.message.clone()),
        finalizers,
        summary: sum.summary,
    }
}

fn conditions(sum: &Sum, make: Conditions<'_>) -> Vec<Condition> {
    let progress = match sum.verdict {
        ApplicationVerdict::Success => Readiness::Ready,
        ApplicationVerdict::Error => Readiness::Stalled,
        // `kstatus` recognizes by itself that an object is being deleted.
        ApplicationVerdict::Pending | ApplicationVerdict::DeleteError => Readiness::Reconciling,
    };
    let verdict = make.one(sum.verdict.text(), true, sum.reason, sum.message.clone());
    [verdict].into_iter().chain(make.readiness(progress, sum.reason, &sum.message)).collect()
}

/// Returns the patch of the status. Compares parsed values: defaults that the server adds do not count.
fn status_patch(raw: &Value, old: &ApplicationStatus, new: &ApplicationStatus) -> Option<Value> {
    if !raw.is_null() && old == new {
        return None;
    }
    let new = serde_json::to_value(new).unwrap_or_default();
    difference(raw, &new).map(|patch| json!({ "status": patch }))
}

fn notes(old: &ApplicationStatus, sum: &Sum) -> Vec<Note> {
    let was_healthy = matches!(old.verdict(), Some((ApplicationVerdict::Success, _)));
    let mut notes = Vec::new();
    if sum.verdict == ApplicationVerdict::Success && !was_healthy && sum.summary.wanted > 0 {
        notes.push(Note::normal("Healthy", "healthy", sum.message.clone()));
    }
    let known = old.summary.as_ref().map_or(&[][..], |summary| &summary.causes);
    for cause in &sum.summary.causes {
        if !known.iter().any(|known| known.reason == cause.reason && known.kernel == cause.kernel) {
            notes.push(Note::warning(
                "NodesFailed",
                &format!("{} {}", cause.reason, cause.kernel),
                format!(
                    "{} on kernel {}, for example node {}: {}",
                    cause.reason, cause.kernel, cause.example, cause.message
                ),
            ));
        }
    }
    notes
}
