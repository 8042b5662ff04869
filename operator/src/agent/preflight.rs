//! The controller's order to load a revision and to discard it: answered once.

use bpfman_application::rollout::PreflightVerdict;
use bpfman_application::spec::Spec;
use bpfman_application::state::node::{Failure, PreflightAnswer};
use bpfman_apply::plan;
use bpfman_apply::reconcile::{Trial, dry_run};

use super::Shared;
use super::api::ApiError;
use super::application::Application;
use super::credentials::user;
use super::facts;
use super::look::Stop;
use super::removal::owner;
use super::revision::RevisionError;
use super::state::{StateObject, Status};

/// Tries the revision that the controller named, if there is one that was not answered yet.
///
/// # Errors
/// The daemon or the API server is away; whatever else goes wrong is an answer.
pub async fn answer(
    shared: &Shared,
    application: &Application,
    state: &StateObject,
) -> Result<Option<PreflightAnswer>, Stop> {
    let Some(name) = &state.orders.preflight else { return Ok(None) };
    let answered = state.status.as_ref().and_then(|status| status.node.details.preflight.as_ref());
    if answered.is_some_and(|answered| answered.revision == *name) {
        return Ok(None);
    }
    let key = &application.key;
    let spec = match shared.revisions.get(&shared.cluster, key, &shared.namespace, name).await {
        Ok(spec) => spec,
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => return Err(error.into()),
        Err(error) => return Ok(Some(failed(name, error.to_string()))),
    };
    tracing::info!(%key, revision = name, "trying");
    let trial = try_out(shared, application, state, &spec).await?;
    Ok(Some(match trial {
        Ok(trial) => said(name, &trial),
        Err(failure) => failed(name, failure.message),
    }))
}

/// Loads and discards.
async fn try_out(
    shared: &Shared,
    application: &Application,
    state: &StateObject,
    spec: &Spec,
) -> Result<Result<Trial, Failure>, Stop> {
    let facts = facts::gather(shared, &application.key, spec).await?;
    let desired = plan::desired(&owner(state), spec, &facts);
    let credentials = match &spec.common().byte_code.image {
        Some(image) => match user(shared, image).await {
            Ok(credentials) => credentials,
            Err(failure) => return Ok(Err(failure)),
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
pub fn put(status: &mut Status, answer: Option<&PreflightAnswer>) {
    if let Some(answer) = answer {
        status.node.details.preflight = Some(answer.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_pass_says_what_it_costs() {
        let answer = said("r-2", &Trial { accepted: true, verified_instructions: 1234, ..Trial::default() });
        assert_eq!((answer.verdict, answer.verified_instructions), (PreflightVerdict::Passed, Some(1234)));
        assert!(answer.message.contains("1234 instructions"), "{}", answer.message);
        let nothing = said("r-2", &Trial { accepted: true, skipped: true, ..Trial::default() });
        assert_eq!((nothing.verdict, nothing.verified_instructions), (PreflightVerdict::Passed, None));
    }
}
