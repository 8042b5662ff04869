//! The controller's order to load a revision and to discard it: answered once in a boot. The answer goes with the order.

use bpfman_application::rollout::PreflightVerdict;
use bpfman_application::spec::Spec;
use bpfman_application::state::node::PreflightAnswer;
use bpfman_apply::reconcile::{Trial, dry_run};

use crate::agent::node::facts;
use crate::agent::objects::application::Application;
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::revision::{RevisionError, Revisions};
use crate::agent::objects::state::{StateObject, Status};
use crate::agent::registry::credentials::{NoUser, user};
use crate::agent::shared::Shared;
use crate::agent::shared::ended::{Ended, Stop};
use crate::agent::status::holding;

/// What to say about the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// There is no order: nothing.
    #[default]
    None,
    /// What was said.
    Same,
    /// This.
    New(PreflightAnswer),
    /// Nothing yet, for a reason in one word that says nothing of the revision: it is tried again.
    Again(String),
}

impl Answer {
    /// What is to be tried again is not done.
    #[must_use]
    pub fn then(self, ended: Ended) -> Ended {
        match (self, ended) {
            (Self::Again(why), Ended::Done | Ended::Later(_)) => Ended::Waiting(why),
            (_, ended) => ended,
        }
    }
}

/// Failures that say nothing of the revision: a verdict is final, so there is none.
const PASSING: [&str; 2] = ["registry", "busy"];

/// Tries the revision that the controller named, if there is one that was not answered yet.
///
/// # Errors
/// The daemon or the API server is away; whatever else goes wrong is an answer.
pub async fn answer(
    shared: &Shared,
    revisions: &mut Revisions,
    application: &Application,
    state: &StateObject,
) -> Result<Answer, Stop> {
    let Some(name) = &state.orders.preflight else { return Ok(Answer::None) };
    let now = shared.daemon_link.now();
    let last = state.status.as_ref().map(|status| &status.node.details);
    let holds = last.and_then(|last| holding(last, now.kernel.as_deref(), now.boot_id.as_deref()));
    if holds.is_some_and(|answered| answered.revision == *name) {
        return Ok(Answer::Same);
    }
    let key = &application.key;
    let spec = match revisions.get(&shared.cluster, key, &shared.namespace, name).await {
        Ok(spec) => spec,
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => return Err(error.into()),
        Err(error) => return Ok(Answer::New(failed(name, error.to_string()))),
    };
    tracing::info!(%key, revision = name, "trying");
    let trial = try_out(shared, application, state, &spec).await?;
    Ok(verdict(name, trial))
}

/// A verdict, unless what failed says nothing of the revision.
fn verdict(name: &str, trial: Result<Trial, NoUser>) -> Answer {
    match trial {
        Err(none) if none.passing => Answer::Again(none.failure.reason),
        Err(none) => Answer::New(failed(name, none.failure.message)),
        Ok(trial) => match trial.failure.as_ref().map(|failure| failure.reason.as_str()) {
            Some(reason) if PASSING.contains(&reason) => Answer::Again(reason.to_owned()),
            _ => Answer::New(said(name, &trial)),
        },
    }
}

/// Loads and discards.
async fn try_out(
    shared: &Shared,
    application: &Application,
    state: &StateObject,
    spec: &Spec,
) -> Result<Result<Trial, NoUser>, Stop> {
    let desired = facts::desired(shared, state, spec).await?;
    let credentials = match &spec.common().byte_code.image {
        Some(image) => match user(shared, application.key.namespace.as_deref(), image).await {
            Ok(credentials) => credentials,
            Err(none) => return Ok(Err(none)),
        },
        None => None,
    };
    shared.metrics.daemon_calls.add("DryRun", 1);
    Ok(Ok(dry_run(&shared.daemon, &desired, credentials.as_ref()).await?))
}

/// A trial as an answer.
fn said(revision: &str, trial: &Trial) -> PreflightAnswer {
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

/// Puts an answer into a status.
pub fn put(status: &mut Status, answer: &Answer) {
    match answer {
        Answer::None | Answer::Again(_) => status.node.details.preflight = None,
        Answer::Same => {}
        Answer::New(answer) => status.node.details.preflight = Some(answer.clone()),
    }
}

#[cfg(test)]
mod tests {
    use bpfman_application::state::node::{Failure, NodeDetails};

    use super::*;
    use crate::agent::status::{About, Outcome, status};

    #[test]
    fn a_refusal_is_said_in_the_verifiers_words() {
        let failure = Failure {
            reason: "kernel-refused".to_owned(),
            program: "filter".to_owned(),
            message: "R1 invalid mem access".to_owned(),
            ..Failure::default()
        };
        let answer = said("r-2", &Trial { failure: Some(failure), ..Trial::default() });
        assert_eq!(answer.verdict, PreflightVerdict::Failed);
        assert_eq!(answer.message, "filter: R1 invalid mem access");
        assert_eq!((answer.revision.as_str(), answer.verified_instructions), ("r-2", None));
    }

    #[test]
    fn what_passes_is_no_verdict_and_is_tried_again() {
        let failure = |reason: &str| Failure { reason: reason.to_owned(), ..Failure::default() };
        let trial = |reason| Ok(Trial { failure: Some(failure(reason)), ..Trial::default() });
        let secret = |passing| Err(NoUser { failure: failure("pull-secret"), passing });
        for passing in [trial("registry"), trial("busy"), secret(true)] {
            let answer = verdict("r-2", passing);
            assert!(matches!(answer, Answer::Again(_)), "{answer:?}");
            assert!(matches!(answer.clone().then(Ended::Done), Ended::Waiting(_)));
            assert_eq!(answer.then(Ended::Failed("x".to_owned())), Ended::Failed("x".to_owned()));
        }
        for lasting in [trial("kernel-refused"), trial("signature"), secret(false)] {
            let answer = verdict("r-2", lasting);
            let Answer::New(said) = &answer else { panic!("{answer:?}") };
            assert_eq!(said.verdict, PreflightVerdict::Failed);
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
        let mut status = status(&Outcome::Pending("it waits"), &About::default(), None);
        let answer = failed("r-2", String::new());
        put(&mut status, &Answer::New(answer.clone()));
        put(&mut status, &Answer::Same);
        assert_eq!(status.node.details.preflight, Some(answer));
        put(&mut status, &Answer::None);
        assert_eq!(status.node.details.preflight, None);
    }

    #[test]
    fn a_pass_says_what_it_costs() {
        let answer = said("r-2", &Trial { accepted: true, verified_instructions: 1234, ..Trial::default() });
        assert_eq!((answer.verdict, answer.verified_instructions), (PreflightVerdict::Passed, Some(1234)));
        assert!(answer.message.contains("1234 instructions"), "{}", answer.message);
        let nothing = said("r-2", &Trial { accepted: true, skipped: true, ..Trial::default() });
        assert_eq!((nothing.verdict, nothing.verified_instructions), (PreflightVerdict::Passed, None));
    }
}
