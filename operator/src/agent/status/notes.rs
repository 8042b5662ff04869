//! Events about status changes: a new failure, and the end of the last one.

use bpfman_application::state::application::AppLoadStatus;
use bpfman_application::state::node::NodeFailure;
use bpfman_application::state::program::ProgramLinkStatus;
use bpfman_runtime::note::Note;

use super::condition::NodeCondition;
use crate::agent::objects::state::Status;

const LOAD_ERROR: &str = "LoadError";
const ATTACH_ERROR: &str = "AttachError";

/// Last published event about a state object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LastEventReport {
    #[default]
    Nothing,
    Failing(ReportedFailure),
}

/// Identity of a failure, without its message, which may contain changing numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedFailure {
    word: &'static str,
    reason: String,
    program: String,
}

impl LastEventReport {
    /// Returns the event that an earlier agent published when it wrote a status.
    #[must_use]
    pub fn with(status: Option<&Status>) -> Self {
        status.and_then(failing).map_or(Self::Nothing, Self::Failing)
    }
}

/// Returns the event to publish, and the state after it; `None` if the last published event was the same.
#[must_use]
pub fn note(told: &LastEventReport, now: &Status) -> Option<(Note, LastEventReport)> {
    let text = now.node.conditions.first().map_or("", |condition| condition.message.as_str());
    match (told, failing(now)) {
        (LastEventReport::Failing(then), Some(fails)) if *then == fails => None,
        (_, Some(fails)) => {
            let text = format!("on node {}: {text}", now.node.node);
            let note = Note::warning(fails.word, &format!("{} {}", fails.reason, fails.program), text);
            Some((note, LastEventReport::Failing(fails)))
        }
        (LastEventReport::Failing(_), None) if is(now, NodeCondition::Success) => {
            let text = format!("on node {}, after a failure: {text}", now.node.node);
            Some((Note::normal(NodeCondition::Success.text(), "recovered", text), LastEventReport::Nothing))
        }
        (_, None) => None,
    }
}

fn failing(status: &Status) -> Option<ReportedFailure> {
    let NodeFailure { reason, program, .. } = status.node.details.failure.as_ref()?;
    let is_attached = |status: &ProgramLinkStatus| {
        !matches!(status, ProgramLinkStatus::Error | ProgramLinkStatus::UpdateAttachInfoError)
    };
    let word = if is(status, NodeCondition::UnloadError) {
        NodeCondition::UnloadError.text()
    } else if status.node.app_load_status == AppLoadStatus::LoadError {
        LOAD_ERROR
    } else if status.programs.iter().all(|program| is_attached(&program.program.program_link_status)) {
        NodeCondition::Error.text()
    } else {
        ATTACH_ERROR
    };
    Some(ReportedFailure { word, reason: reason.clone(), program: program.clone() })
}

fn is(status: &Status, word: NodeCondition) -> bool {
    status.node.conditions.first().is_some_and(|condition| condition.type_ == word.text())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bpfman_application::spec::ApplicationSpec;
    use bpfman_apply::report::{Report, ReportedLoad};
    use serde_json::json;

    use super::*;
    use crate::agent::status::{ReconcileOutcome, StatusContext, status};

    fn spec() -> ApplicationSpec {
        let spec = json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": [] });
        ApplicationSpec::read(None, spec).unwrap()
    }

    fn after(outcome: &ReconcileOutcome<'_>, before: Option<&Status>) -> Status {
        status(outcome, &StatusContext { node: "n1".to_owned(), ..StatusContext::default() }, before)
    }

    fn refused(reason: &str, message: &str, before: Option<&Status>) -> Status {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        let failure = NodeFailure { reason, message, ..NodeFailure::default() };
        after(&ReconcileOutcome::Refused(&failure), before)
    }

    fn loaded(before: Option<&Status>) -> Status {
        let report = Report { load: ReportedLoad::Loaded, ..Report::default() };
        after(&ReconcileOutcome::Reported(&report, &spec()), before)
    }

    fn tell(told: &mut LastEventReport, status: &Status) -> Option<Note> {
        let (note, now) = note(told, status)?;
        *told = now;
        Some(note)
    }

    #[test]
    fn failures_and_recovery_are_each_reported_once() {
        let mut told = LastEventReport::default();
        assert_eq!(tell(&mut told, &loaded(None)), None, "what is as it should be is no event");
        let pending = after(&ReconcileOutcome::Pending("it begins"), None);
        assert_eq!(tell(&mut told, &pending), None);
        let failed = refused("kernel-refused", "after 3 instructions", Some(&pending));
        let first = tell(&mut told, &failed).unwrap();
        assert_eq!((first.warning, first.reason.as_str()), (true, "LoadError"));
        assert!(
            first.text.contains("on node n1: ") && first.text.contains("after 3 instructions"),
            "{first:?}"
        );
        let again = refused("kernel-refused", "after 4 instructions", Some(&failed));
        assert_eq!(tell(&mut told, &again), None);
        assert_eq!(
            note(&LastEventReport::with(Some(&failed)), &again),
            None,
            "an agent that begins tells it no more"
        );
        let other = refused("signature", "no signature", Some(&again));
        assert_ne!(tell(&mut told, &other).unwrap().cause, first.cause);
        let good = loaded(Some(&other));
        let end = tell(&mut told, &good).unwrap();
        assert_eq!((end.warning, end.reason.as_str()), (false, "Success"));
        assert_eq!(tell(&mut told, &loaded(Some(&good))), None);
    }

    #[test]
    fn suppressed_event_is_published_later() {
        let failed = refused("signature", "no signature", None);
        let mut told = LastEventReport::default();
        assert!(tell(&mut told, &failed).is_some());
        assert!(tell(&mut told, &loaded(Some(&failed))).is_some());
        // It fails again at once, but the event is suppressed. The last published event is the success.
        let (held_back, _) = note(&told, &failed).unwrap();
        assert_eq!(held_back.reason, "LoadError");
        let again = refused("signature", "no signature", Some(&failed));
        assert_eq!(tell(&mut told, &again).unwrap().cause, held_back.cause);
        assert_eq!(tell(&mut told, &again), None);
    }

    #[test]
    fn an_older_version_that_runs_on_is_no_failed_load() {
        let before = loaded(None);
        let failed = refused("signature", "no signature", Some(&before));
        assert_eq!(note(&LastEventReport::with(Some(&before)), &failed).unwrap().0.reason, "Error");
    }
}
