//! One look at one application: what it wants here, what the daemon makes of it, what the state object says then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bpfman_application::spec::Spec;
use bpfman_application::state::application::AppLoadStatus;
use bpfman_apply::failure::Unreachable;
use bpfman_apply::report::LoadOutcome;

use super::Shared;
use super::absent::{daemon_away, node_is_gone};
use super::api::ApiError;
use super::application::Application;
use super::bring::{Brought, bring};
use super::composition;
use super::part::{Part, part};
use super::preflight::{self, Answer};
use super::removal::{Why, remove};
use super::revision::RevisionError;
use super::soak;
use super::state::{StateObject, Status, own};
use super::status::{About, Outcome, composition as shared_hooks, failure, status};
use super::tell::{Told, tell};
use bpfman_application::scope::ApplicationKey;
use bpfman_runtime::backoff::jittered;

/// A load that takes longer than this is said to be under way.
const SAID_PENDING_AFTER: Duration = Duration::from_secs(2);

/// How a look ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing more to do until something changes.
    Done,
    /// To be looked at again after this time; nothing failed.
    Later(Duration),
    /// Something failed, in one word; it is tried again, later and later.
    Failed(String),
    /// Something failed that the whole fleet feels: it is tried again, but at most half a minute later.
    Waiting(String),
}

impl Ended {
    /// A word that has to wait is said later, whatever else there is to do.
    #[must_use]
    pub fn after(self, told: Told) -> Self {
        match (told, self) {
            (Told::TooMany(wait), Self::Done | Self::Later(_)) => Self::Later(wait),
            (_, ended) => ended,
        }
    }
}

/// What a look cannot go on without.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The daemon.
    #[error(transparent)]
    Daemon(#[from] Unreachable),
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Looks at an application.
pub async fn look(shared: &Shared, key: &ApplicationKey) -> Ended {
    let lock = shared.locks.of(key);
    let _alone = lock.lock().await;
    match whole(shared, key).await {
        Ok(ended) => {
            shared.broken_off.well(key);
            ended
        }
        Err(Stop::Daemon(away)) => daemon_away(shared, key, &away).await,
        Err(Stop::Api(error)) => {
            tracing::warn!(%key, %error, "the API server");
            match error {
                ApiError::Away(_) => Ended::Waiting(error.reason().to_owned()),
                _ => Ended::Failed(error.reason().to_owned()),
            }
        }
    }
}

/// What there is of an application.
struct Known {
    application: Option<Arc<Application>>,
    states: Vec<Arc<StateObject>>,
    node_is_there: bool,
}

fn known(shared: &Shared, key: &ApplicationKey) -> Known {
    let known = shared.world.known();
    Known {
        application: known.applications.get(key).cloned(),
        states: known.states.get(key).map(|states| states.values().cloned().collect()).unwrap_or_default(),
        node_is_there: known.node.is_some(),
    }
}

async fn whole(shared: &Shared, key: &ApplicationKey) -> Result<Ended, Stop> {
    let Known { application, states, node_is_there } = known(shared, key);
    let mine = application.as_ref().and_then(|one| own(&states, one, &shared.node)).cloned();
    let (current, old): (Vec<_>, Vec<_>) =
        states.into_iter().partition(|state| mine.as_ref().is_some_and(|mine| mine.name == state.name));
    for state in old {
        if application.is_none() && !state.deleted && still_there(shared, key, &state).await? {
            return Ok(Ended::Later(Duration::from_secs(1)));
        }
        // Of a second one for the same application nobody else would take the object.
        let second = application.as_ref().is_some_and(|one| one.uid == state.application_uid);
        let why = if second { Why::NotSelected } else { Why::Deleted };
        let ended = remove(shared, &state, why, None).await?;
        if ended != Ended::Done {
            return Ok(ended);
        }
    }
    let Some(application) = application else {
        shared.forget(key);
        return Ok(Ended::Done);
    };
    let state = current.into_iter().next();
    if application.deleted || state.as_ref().is_some_and(|state| state.deleted) {
        let Some(state) = state else { return Ok(Ended::Done) };
        // Without the finalizer all is done already: the object waits for others.
        return match state.held() {
            true => remove(shared, &state, Why::Deleted, application.spec.as_ref().ok()).await,
            false => Ok(Ended::Done),
        };
    }
    if !node_is_there {
        return Ok(node_is_gone(shared, &application, state.as_deref()).await?);
    }
    act(shared, &application, state).await
}

/// Lists come from caches: that an application is gone is believed only after the database was asked.
async fn still_there(shared: &Shared, key: &ApplicationKey, state: &StateObject) -> Result<bool, ApiError> {
    let application = shared.cluster.application(key).await?;
    let there = application.is_some_and(|one| {
        !one.deleted && (state.application_uid.is_empty() || one.uid == state.application_uid)
    });
    if there {
        tracing::warn!(%key, "the API server's list was older than its database");
    }
    Ok(there)
}

async fn act(
    shared: &Shared,
    application: &Application,
    state: Option<Arc<StateObject>>,
) -> Result<Ended, Stop> {
    let key = &application.key;
    let part = part(shared, application, state.as_deref()).await?;
    if matches!(part, Part::Leave) {
        shared.forget(key);
        let Some(state) = state else { return Ok(Ended::Done) };
        return remove(shared, &state, Why::NotSelected, application.spec.as_ref().ok()).await;
    }
    let state = claim(shared, application, state).await?;
    let name = state.name.as_str();
    match part {
        Part::Leave => Ok(Ended::Done),
        Part::Unclear(why) => {
            let about = about(shared, application, None, None);
            // The version that is to be tried may be another one than the one that cannot be read.
            let answer = preflight::answer(shared, application, &state).await?;
            let told = tell(shared, key, name, |before| {
                let mut said = status(&Outcome::Refused(&why), &about, before);
                preflight::put(&mut said, &answer);
                said
            });
            let told = told.await?;
            Ok(Ended::Failed(why.reason).after(told))
        }
        Part::Wait(why) => {
            // A rollout came to an application that runs already: what runs is kept true until its turn comes.
            if let Some((spec, version)) = last_acted(shared, key, &state).await? {
                return run(shared, application, &state, &spec, &version).await;
            }
            let spec = application.spec.as_ref().ok();
            let composition = match spec {
                Some(spec) => composition::here(shared, key, spec, &state).await?,
                None => None,
            };
            let about = about(shared, application, None, composition);
            let answer = preflight::answer(shared, application, &state).await?;
            let told = tell(shared, key, name, |before| {
                let mut said = waiting(why, &about, before);
                said.node.details.composition =
                    shared_hooks(&about, before.map(|before| &before.node.details));
                said.node.details.kernel = about.kernel.clone();
                said.node.details.boot_id = about.boot_id.clone();
                preflight::put(&mut said, &answer);
                said
            });
            let told = told.await?;
            Ok(answer.then(Ended::Done).after(told))
        }
        Part::Act(spec, version) => {
            shared.world.known().in_force.insert(key.clone(), (Arc::clone(&spec), version.clone()));
            run(shared, application, &state, &spec, &version).await
        }
    }
}

/// What a node acted on before it had to wait: what this agent remembers, or the revision that its state names.
///
/// # Errors
/// The API server is away, and that revision was never read.
pub async fn last_acted(
    shared: &Shared,
    key: &ApplicationKey,
    state: &StateObject,
) -> Result<Option<(Arc<Spec>, String)>, ApiError> {
    let remembered = shared.world.known().in_force.get(key).cloned();
    if remembered.is_some() {
        return Ok(remembered);
    }
    let observed = state.status.as_ref().and_then(|status| status.node.details.observed_revision.clone());
    // A number is a generation of before the rollout: its spec is nowhere any more.
    let Some(name) = observed.filter(|name| name.parse::<i64>().is_err()) else { return Ok(None) };
    match shared.revisions.get(&shared.cluster, key, &shared.namespace, &name).await {
        Ok(spec) => Ok(Some((spec, name))),
        Err(RevisionError::Api(_, error @ ApiError::Away(_))) => Err(error),
        Err(_) => Ok(None),
    }
}

/// What is said of an application that waits, and of whose running version the spec is not known.
///
/// Its programs run on, but nobody keeps them true: that is no success. After a boot not even that is known.
fn waiting(why: &str, about: &About, before: Option<&Status>) -> Status {
    let ran = before.and_then(|before| before.node.details.observed_revision.clone());
    let Some(ran) = ran else { return status(&Outcome::Pending(why), about, before) };
    let long = format!("{why}; of version {ran} the spec is not known any more: programs stay as they are");
    let about = About { revision: Some(ran), ..about.clone() };
    let mut said = status(&Outcome::Pending(&long), &about, before);
    let booted = before.is_some_and(|before| {
        let last = &before.node.details.boot_id;
        last.is_some() && about.boot_id.is_some() && *last != about.boot_id
    });
    if booted {
        said.node.app_load_status = AppLoadStatus::NotLoaded;
        said.programs = Vec::new();
    }
    said
}

/// The state object, made if there is none, and with the finalizer in it.
async fn claim(
    shared: &Shared,
    application: &Application,
    state: Option<Arc<StateObject>>,
) -> Result<Arc<StateObject>, Stop> {
    let state = match state {
        Some(state) if state.held() => return Ok(state),
        Some(state) => {
            let mut finalizers = state.finalizers.clone();
            finalizers.push(application.key.scope.finalizer().to_owned());
            shared.cluster.write_finalizers(&state, &finalizers).await?
        }
        None => shared.cluster.make_state(application).await?,
    };
    shared.learned(state.clone());
    Ok(Arc::new(state))
}

/// Brings the programs to what the spec wants, and says what came of it.
async fn run(
    shared: &Shared,
    application: &Application,
    state: &StateObject,
    spec: &Spec,
    version: &str,
) -> Result<Ended, Stop> {
    let (key, name) = (&application.key, state.name.as_str());
    let mut about = about(shared, application, Some(version), None);
    let mut bringing = std::pin::pin!(bring(shared, key, state, spec, version));
    let brought = match tokio::time::timeout(SAID_PENDING_AFTER, &mut bringing).await {
        Ok(brought) => brought,
        Err(_) => {
            if state.status.is_none() {
                let why = "the programs are being loaded";
                // It is only a word in between: what matters is said afterwards.
                let _told =
                    tell(shared, key, name, |before| status(&Outcome::Pending(why), &about, before)).await;
            }
            bringing.await
        }
    };
    let brought = brought?;
    let rollout = application.spec.as_ref().is_ok_and(|spec| spec.common().rollout.is_some());
    let mut answer = Answer::None;
    let mut health = soak::Health::default();
    // Someone may rehearse what runs without a rollout too.
    if rollout || state.orders.preflight.is_some() {
        about.composition = composition::here(shared, key, spec, state).await?;
        answer = preflight::answer(shared, application, state).await?;
    }
    if let Brought::Report(report) = &brought {
        health = soak::look(shared, application, state, version, report).await?;
    }
    let told = tell(shared, key, name, |before| {
        let mut said = match &brought {
            Brought::Report(report) => status(&Outcome::Reported(report, spec), &about, before),
            Brought::Refused(failure) => status(&Outcome::Refused(failure), &about, before),
        };
        preflight::put(&mut said, &answer);
        health.put(&mut said);
        said
    })
    .await?;
    let ended = match &brought {
        Brought::Refused(failure) => {
            tracing::warn!(%key, why = failure.message, "not as it should be");
            Ended::Failed(failure.reason.clone())
        }
        Brought::Report(report) => match failure(report) {
            Some(failure) => {
                tracing::warn!(%key, program = failure.program, why = failure.message, "not as it should be");
                Ended::Failed(failure.reason)
            }
            None if report.load == LoadOutcome::Loaded || report.load == LoadOutcome::NotWanted => {
                // A registry that did not say what a tag stands for now is asked again.
                let asks = shared
                    .asked
                    .wait(&state.uid, Instant::now())
                    .map(|wait| jittered(wait).max(Duration::from_secs(1)));
                [health.again(), asks].into_iter().flatten().min().map_or(Ended::Done, Ended::Later)
            }
            None => Ended::Failed("unknown".to_owned()),
        },
    };
    Ok(answer.then(ended).after(told))
}

/// What a status of this application is about. A revision that the controller named may be of another generation than
/// today's: then no generation is said, so that nobody takes the verdict on the one for one on the other.
fn about(
    shared: &Shared,
    application: &Application,
    version: Option<&str>,
    composition: Option<String>,
) -> About {
    let now = shared.daemon_link.now();
    About {
        node: shared.node.clone(),
        generation: match version {
            Some(version) if version != application.generation.to_string() => 0,
            _ => application.generation,
        },
        revision: version.map(str::to_owned),
        kernel: now.kernel,
        boot_id: now.boot_id,
        composition,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn about(boot: &str) -> About {
        About { node: "a".to_owned(), boot_id: Some(boot.to_owned()), ..About::default() }
    }

    fn ran(boot: &str) -> Status {
        let about = About { revision: Some("4".to_owned()), ..about(boot) };
        let report = bpfman_apply::report::Report { load: LoadOutcome::Loaded, ..Default::default() };
        let spec = super::super::application::parse(
            bpfman_application::scope::Scope::Cluster,
            serde_json::json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": [] }),
        );
        status(&Outcome::Reported(&report, &spec.unwrap()), &about, None)
    }

    #[test]
    fn waiting_for_a_rollout_is_no_success_and_after_a_boot_nothing_is_loaded() {
        let before = ran("one");
        assert_eq!(before.node.conditions[0].type_, "Success");
        let same_boot = waiting("waiting", &about("one"), Some(&before));
        assert_eq!(same_boot.node.conditions[0].type_, "Pending");
        assert_eq!(same_boot.node.app_load_status, AppLoadStatus::LoadSuccess);
        assert_eq!(same_boot.node.details.observed_revision.as_deref(), Some("4"));
        let booted = waiting("waiting", &about("two"), Some(&before));
        assert_eq!(booted.node.conditions[0].type_, "Pending");
        assert_eq!(booted.node.app_load_status, AppLoadStatus::NotLoaded);
        assert_eq!(booted.node.details.boot_id.as_deref(), Some("two"));
        let never = waiting("waiting", &about("one"), None);
        assert_eq!((never.node.details.observed_revision, never.programs.len()), (None, 0));
    }
}
