//! Preflight order: loads a revision and discards it, once per boot. The answer is removed together with the order.

use bpfman_application::rollout::PreflightVerdict;
use bpfman_application::spec::ApplicationSpec;
use bpfman_application::state::node::PreflightAnswer;
use bpfman_apply::reconcile::{DryRunResult, dry_run};
use bpfman_proto::Reason;

use crate::agent::node::facts;
use crate::agent::objects::application::WantedApplication;
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::revision::{ReadRevisions, RevisionError};
use crate::agent::objects::state::{StateObject, Status};
use crate::agent::registry::credentials::{NoUser, user};
use crate::agent::shared::Shared;
use crate::agent::shared::ended::{Ended, Stop};
use crate::agent::status::holding;

/// Reply to the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PreflightReply {
    #[default]
    None,
    /// The existing answer holds.
    Same,
    New(PreflightAnswer),
    /// No verdict yet, for a reason that is independent of the revision: try again.
    Again(String),
}

impl PreflightReply {
    /// Combines the reply with the result of the reconciliation: a preflight without a verdict is tried again.
    #[must_use]
    pub fn then(self, ended: Ended) -> Ended {
        match (self, ended) {
            (Self::Again(why), Ended::Done | Ended::Later(_)) => Ended::Waiting(why),
            (_, ended) => ended,
        }
    }
}

/// Tries the ordered revision, if it has no valid answer yet; fails only if daemon or API server is away.
pub async fn answer(
    shared: &Shared,
    revisions: &mut ReadRevisions,
    application: &WantedApplication,
    state: &StateObject,
) -> Result<PreflightReply, Stop> {
    let Some(name) = &state.orders.preflight else { return Ok(PreflightReply::None) };
    let now = shared.daemon_link.now();
    let last = state.status.as_ref().map(|status| &status.node.details);
    let holds = last.and_then(|last| holding(last, now.kernel.as_deref(), now.boot_id.as_deref()));
    if holds.is_some_and(|answered| answered.revision == *name) {
        return Ok(PreflightReply::Same);
    }
    let key = &application.key;
    let spec = match revisions.get(&shared.cluster, key, &shared.namespace, name).await {
        Ok(spec) => spec,
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => return Err(error.into()),
        Err(error) => return Ok(PreflightReply::New(failed(name, error.to_string()))),
    };
    tracing::info!(%key, revision = name, "trying");
    let trial = try_out(shared, application, state, &spec).await?;
    Ok(verdict(name, trial))
}

/// A failure that is independent of the revision gives no verdict.
fn verdict(name: &str, trial: Result<DryRunResult, NoUser>) -> PreflightReply {
    match trial {
        Err(none) if none.passing => PreflightReply::Again(none.failure.reason),
        Err(none) => PreflightReply::New(failed(name, none.failure.message)),
        Ok(trial) => match trial.failure.as_ref().and_then(|failure| Reason::from_name(&failure.reason)) {
            // Verdicts are final, so a temporary failure must not become one.
            Some(reason @ (Reason::Registry | Reason::Busy)) => {
                PreflightReply::Again(reason.name().to_owned())
            }
            _ => PreflightReply::New(answer_of(name, &trial)),
        },
    }
}

async fn try_out(
    shared: &Shared,
    application: &WantedApplication,
    state: &StateObject,
    spec: &ApplicationSpec,
) -> Result<Result<DryRunResult, NoUser>, Stop> {
    let desired = facts::desired(shared, state, spec).await?;
    let credentials = match &spec.common.byte_code.image {
        Some(image) => match user(shared, application.key.namespace.as_deref(), image).await {
            Ok(credentials) => credentials,
            Err(none) => return Ok(Err(none)),
        },
        None => None,
    };
    shared.metrics.daemon_calls.add("DryRun", 1);
    Ok(Ok(dry_run(&shared.daemon, &desired, credentials.as_ref()).await?))
}

fn answer_of(revision: &str, trial: &DryRunResult) -> PreflightAnswer {
    if !trial.accepted {
        let message = trial.failure.as_ref().map_or_else(
            || "the daemon refused it without a reason".to_owned(),
            |failure| match failure.program.as_str() {
                "" => failure.message.clone(),
                program => format!("{program}: {}", failure.message),
            },
        );
        return failed(revision, message);
    }
    let message = if trial.skipped {
        "nothing of it is for this node".to_owned()
    } else {
        let programs = trial.answer.programs.len();
        let chains = trial.answer.chains.len();
        format!(
            "{programs} programs and {chains} chains, {} instructions verified",
            trial.verified_instructions
        )
    };
    PreflightAnswer {
        revision: revision.to_owned(),
        verdict: PreflightVerdict::Passed,
        message,
        verified_instructions: (!trial.skipped)
            .then(|| i64::try_from(trial.verified_instructions).unwrap_or(i64::MAX)),
        digest: Some(trial.digest.clone()).filter(|digest| !digest.is_empty()),
    }
}

fn failed(revision: &str, message: String) -> PreflightAnswer {
    PreflightAnswer {
        revision: revision.to_owned(),
        verdict: PreflightVerdict::Failed,
        message,
        verified_instructions: None,
        digest: None,
    }
}

pub fn put(status: &mut Status, answer: &PreflightReply) {
    match answer {
        PreflightReply::None | PreflightReply::Again(_) => status.node.details.preflight = None,
        PreflightReply::Same => {}
        PreflightReply::New(answer) => status.node.details.preflight = Some(answer.clone()),
    }
}

#[cfg(test)]
mod tests {
    use bpfman_application::state::node::{NodeDetails, NodeFailure};

    use super::*;
    use crate::agent::status::{ReconcileOutcome, StatusContext, status};

    #[test]
    fn refusal_contains_the_verifier_message() {
        let failure = NodeFailure {
            reason: "kernel-refused".to_owned(),
            program: "filter".to_owned(),
            message: "R1 invalid mem access".to_owned(),
            ..NodeFailure::default()
        };
        let answer = answer_of("r-2", &DryRunResult { failure: Some(failure), ..DryRunResult::default() });
        assert_eq!(answer.verdict, PreflightVerdict::Failed);
        assert_eq!(answer.message, "filter: R1 invalid mem access");
        assert_eq!((answer.revision.as_str(), answer.verified_instructions), ("r-2", None));
    }

    #[test]
    fn transient_failure_is_retried_without_verdict() {
        let failure = |reason: &str| NodeFailure { reason: reason.to_owned(), ..NodeFailure::default() };
        let trial = |reason| Ok(DryRunResult { failure: Some(failure(reason)), ..DryRunResult::default() });
        let secret = |passing| Err(NoUser { failure: failure("pull-secret"), passing });
        for passing in [trial("registry"), trial("busy"), secret(true)] {
            let answer = verdict("r-2", passing);
            assert!(matches!(answer, PreflightReply::Again(_)), "{answer:?}");
            assert!(matches!(answer.clone().then(Ended::Done), Ended::Waiting(_)));
            assert_eq!(answer.then(Ended::Failed("x".to_owned())), Ended::Failed("x".to_owned()));
        }
        for lasting in [trial("kernel-refused"), trial("signature"), secret(false)] {
            let answer = verdict("r-2", lasting);
            let PreflightReply::New(new) = &answer else { panic!("{answer:?}") };
            assert_eq!(new.verdict, PreflightVerdict::Failed);
            assert_eq!(answer.then(Ended::Done), Ended::Done);
        }
    }

    #[test]
    fn an_answer_holds_for_its_boot_and_kernel() {
        let last = NodeDetails {
            kernel: Some("6.1.0".to_owned()),
            boot_id: Some("one".to_owned()),
            preflight: Some(failed("r-2", "R1 invalid mem access".to_owned())),
            ..NodeDetails::default()
        };
        let holds = |kernel, boot_id| holding(&last, kernel, boot_id).is_some();
        assert!(holds(Some("6.1.0"), Some("one")));
        assert!(holds(None, Some("one")), "the daemon was not reached yet");
        assert!(!holds(Some("6.1.0"), Some("two")));
        assert!(!holds(None, Some("two")));
        assert!(!holds(Some("6.12.0"), Some("one")));
    }

    #[test]
    fn an_answer_goes_with_its_order() {
        let mut status = status(&ReconcileOutcome::Pending("it waits"), &StatusContext::default(), None);
        let answer = failed("r-2", String::new());
        put(&mut status, &PreflightReply::New(answer.clone()));
        put(&mut status, &PreflightReply::Same);
        assert_eq!(status.node.details.preflight, Some(answer));
        put(&mut status, &PreflightReply::None);
        assert_eq!(status.node.details.preflight, None);
    }

    #[test]
    fn a_pass_says_what_it_costs() {
        let answer = answer_of(
            "r-2",
            &DryRunResult { accepted: true, verified_instructions: 1234, ..DryRunResult::default() },
        );
        assert_eq!((answer.verdict, answer.verified_instructions), (PreflightVerdict::Passed, Some(1234)));
        assert!(answer.message.contains("1234 instructions"), "{}", answer.message);
        let nothing =
            answer_of("r-2", &DryRunResult { accepted: true, skipped: true, ..DryRunResult::default() });
        assert_eq!((nothing.verdict, nothing.verified_instructions), (PreflightVerdict::Passed, None));
    }
}
