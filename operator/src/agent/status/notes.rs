//! What a new status tells people as events: what fails now and did not before, and that nothing fails any more.

use bpfman_application::state::application::AppLoadStatus;
use bpfman_application::state::node::NodeFailure;
use bpfman_application::state::program::ProgramLinkStatus;
use bpfman_runtime::note::Note;

use super::condition::NodeCondition;
use crate::agent::objects::state::Status;

/// Programs are not loaded.
const LOAD_ERROR: &str = "LoadError";
/// Programs are loaded, and one is not attached everywhere.
const ATTACH_ERROR: &str = "AttachError";

/// Events for a status that takes the place of another. The same failure is told once, however often it is tried again.
#[must_use]
pub fn notes(before: Option<&Status>, now: &Status) -> Option<Note> {
    let text = now.node.conditions.first().map_or("", |condition| condition.message.as_str());
    match (before.and_then(failing), failing(now)) {
        (Some(then), Some(fails)) if then == fails => None,
        (_, Some(fails)) => {
            let text = format!("on node {}: {text}", now.node.node);
            Some(Note::warning(fails.word, &format!("{} {}", fails.reason, fails.program), text))
        }
        (Some(_), None) if is(now, NodeCondition::Success) => {
            let text = format!("on node {}, after a failure: {text}", now.node.node);
            Some(Note::normal(NodeCondition::Success.text(), "recovered", text))
        }
        (_, None) => None,
    }
}

/// What makes a failure the same as another: messages have numbers in them.
#[derive(Debug, PartialEq, Eq)]
struct Failing<'s> {
    word: &'static str,
    reason: &'s str,
    program: &'s str,
}

fn failing(status: &Status) -> Option<Failing<'_>> {
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
    Some(Failing { word, reason, program })
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
    use crate::agent::status::{About, ReconcileOutcome, status};

    fn spec() -> ApplicationSpec {
        let spec = json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": [] });
        ApplicationSpec::read(None, spec).unwrap()
    }

    fn after(outcome: &ReconcileOutcome<'_>, before: Option<&Status>) -> Status {
        status(outcome, &About { node: "n1".to_owned(), ..About::default() }, before)
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

    #[test]
    fn a_failure_is_told_once_and_another_one_beside_it_and_its_end() {
        let first = loaded(None);
        assert_eq!(notes(None, &first), None, "what is as it should be is no event");
        let pending = after(&ReconcileOutcome::Pending("it begins"), None);
        let failed = refused("kernel-refused", "after 3 instructions", Some(&pending));
        let note = notes(Some(&pending), &failed).unwrap();
        assert_eq!((note.warning, note.reason.as_str()), (true, "LoadError"));
        assert!(note.text.contains("on node n1: ") && note.text.contains("after 3 instructions"), "{note:?}");
        let again = refused("kernel-refused", "after 4 instructions", Some(&failed));
        assert_eq!(notes(Some(&failed), &again), None);
        let other = refused("signature", "no signature", Some(&again));
        assert_ne!(notes(Some(&again), &other).unwrap().cause, note.cause);
        let good = loaded(Some(&other));
        let note = notes(Some(&other), &good).unwrap();
        assert_eq!((note.warning, note.reason.as_str()), (false, "Success"));
        assert_eq!(notes(Some(&good), &loaded(Some(&good))), None);
    }

    #[test]
    fn an_older_version_that_runs_on_is_no_failed_load() {
        let before = loaded(None);
        let failed = refused("signature", "no signature", Some(&before));
        assert_eq!(notes(Some(&before), &failed).unwrap().reason, "Error");
    }
}
