//! Attaches programs to the network of a new pod before its first packet, or returns why that failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bpfman_application::place::OnUnavailable;
use bpfman_application::spec::ApplicationSpec;
use bpfman_apply::desired::UnknownPlace;
use bpfman_apply::facts::{Netns, NodeInterface};
use bpfman_apply::failure::Unreachable;
use bpfman_apply::reconcile;
use bpfman_apply::report::{LinkOutcome, Report, ReportedLoad};
use bpfman_apply::step::ApplyStep;
use bpfman_cni::protocol::PluginRequest;
use kube::Api;

use super::messages::in_pods;
use crate::agent::memory::arriving::Arriving;
use crate::agent::node::facts;
use crate::agent::objects::application::WantedApplication;
use crate::agent::objects::cluster::ApiError;
use crate::agent::objects::machine::{KnownPod, PodKey, pods};
use crate::agent::objects::revision::ReadRevisions;
use crate::agent::objects::state::StateObject;
use crate::agent::reconcile::apply::{AppliedSpec, apply};
use crate::agent::reconcile::last_acted;
use crate::agent::reconcile::role::{NodeRole, role};
use crate::agent::shared::Shared;
use crate::agent::shared::write_status::state_of;
use bpfman_application::scope::ApplicationKey;
use bpfman_runtime::queue::QueueCause;
use bpfman_runtime::wire::WirePod;

/// Time to wait for an application that is being processed; the plugin waits twice as long for its answer.
const APPLICATION_TIMEOUT: Duration = Duration::from_secs(10);

const API: Duration = Duration::from_secs(5);

/// Pod as the network plugin names it.
#[derive(Clone, Debug)]
pub struct PodToProtect<'a> {
    pub request: &'a PluginRequest,
    /// Network namespace as the daemon opens it, with its interfaces; or why the daemon does not find it.
    pub network: Result<(Netns, Vec<NodeInterface>), NetworkNotFound>,
}

impl PodToProtect<'_> {
    fn key(&self) -> PodKey {
        (self.request.namespace.clone(), self.request.name.clone())
    }
}

/// Reason for which the daemon does not find a pod's network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon does not find the pod's network: {0}")]
pub struct NetworkNotFound(pub String);

/// Result of protecting a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// Number of attachments that exist now.
    pub attached: usize,
    /// Messages about missing attachments without which the pod may start.
    pub open: Vec<String>,
}

/// Reason for which a pod must not start.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    #[error("the node's agent is not ready: {0}")]
    NotReady(String),
    /// The pod does not exist, or its labels cannot be read.
    #[error("pod {0} cannot be asked for: {1}")]
    Pod(String, String),
    /// A required attachment could not be made.
    #[error("{application}: {why}")]
    Closed { application: ApplicationKey, why: String },
}

/// Makes all attachments of a pod. Fails if it must not start; attachments so far stay for the next attempt.
pub async fn protect(shared: &Arc<Shared>, pod: &PodToProtect<'_>) -> Result<Protected, ProtectError> {
    let known = known_pod(shared, pod).await?;
    let applications = meaning(shared, &pod.request.namespace, &known);
    let mut done = Protected::default();
    match &pod.network {
        Ok((netns, interfaces)) => {
            let arriving = Arriving::now(pod.key(), known.clone(), netns.clone(), interfaces.clone());
            let uids: BTreeSet<String> =
                shared.cache.known().pods.values().map(|pod| pod.uid.clone()).collect();
            shared.arriving.add(arriving, |uid| uids.contains(uid));
        }
        Err(error) => {
            let why = error.to_string();
            for application in applications {
                missing(shared, &application, &pod.request.namespace, &known, &why, &mut done)?;
            }
            return Ok(done);
        }
    }
    for application in applications {
        shared.queue.add(&application.key, QueueCause::Changed);
        one(shared, &application, &pod.request.namespace, &known, &mut done).await?;
    }
    Ok(done)
}

/// Checks whether all attachments of a pod exist; [`ProtectError::Closed`] has a missing one.
pub async fn check(shared: &Shared, pod: &PodToProtect<'_>) -> Result<(), ProtectError> {
    let known = known_pod(shared, pod).await?;
    for application in meaning(shared, &pod.request.namespace, &known) {
        let key = &application.key;
        let missing = |why: String| ProtectError::Closed { application: key.clone(), why };
        let Some(state) = state_of(shared, &application) else { continue };
        // A reconciliation may hold the memory for minutes: in that case, read the revision again.
        let (mut turn, mut none) = (shared.memories.turn_now(key), ReadRevisions::default());
        let revisions = turn.as_mut().map_or(&mut none, |memory| &mut memory.revisions);
        let Ok(NodeRole::Act(spec, _)) = role(shared, revisions, &application, Some(&state)).await else {
            continue;
        };
        drop(turn);
        let away = |away: Unreachable| missing(away.to_string());
        let desired = facts::desired(shared, &state, &spec).await.map_err(away)?;
        let steps = reconcile::diff(&shared.daemon, &desired).await.map_err(away)?;
        let programs = desired.load.iter().flat_map(|load| &load.programs);
        for (program, wanted) in programs.flat_map(|one| one.links.iter().map(move |link| (one, link))) {
            let step = ApplyStep::Attach { program: program.name.clone(), key: wanted.0.clone() };
            if wanted.1.pod.as_ref() == Some(&known.uid) && steps.contains(&step) {
                return Err(missing(format!("{}: it is not attached", program.name)));
            }
        }
    }
    Ok(())
}

fn meaning(shared: &Shared, namespace: &str, pod: &KnownPod) -> Vec<Arc<WantedApplication>> {
    let known = shared.cache.known();
    let mut keys = known.meaning(&shared.memories, namespace, &[pod]);
    // Until this agent has read the revision of a rollout, the application may select any pod.
    let unread = |one: &&Arc<WantedApplication>| {
        let rollout = one.spec.as_ref().is_ok_and(|spec| spec.common.rollout.is_some());
        rollout && shared.memories.in_force(&one.key).is_none()
    };
    keys.extend(known.applications.values().filter(unread).map(|one| one.key.clone()));
    keys.sort();
    keys.dedup();
    keys.iter().filter_map(|key| known.applications.get(key).cloned()).collect()
}

async fn known_pod(shared: &Shared, pod: &PodToProtect<'_>) -> Result<KnownPod, ProtectError> {
    if !shared.is_acting() || !shared.cache.known().complete() {
        let why = shared.not_ready().unwrap_or_default();
        return Err(ProtectError::NotReady(why));
    }
    let PluginRequest { namespace, name, uid, .. } = pod.request;
    let named = || format!("{namespace}/{name}");
    let right = |known: &KnownPod| uid.as_ref().is_none_or(|uid| *uid == known.uid);
    if let Some(known) = shared.cache.known().pods.get(&pod.key()).filter(|known| right(known)) {
        return Ok(known.clone());
    }
    let api: Api<WirePod> = Api::namespaced_with(shared.cluster.client(), namespace, &pods());
    let asked = tokio::time::timeout(API, api.get(name)).await;
    let asked = asked.map_err(|_| ProtectError::Pod(named(), "the API server does not answer".to_owned()))?;
    let object = asked.map_err(|error| ProtectError::Pod(named(), error.to_string()))?;
    KnownPod::read(object)
        .filter(right)
        .ok_or_else(|| ProtectError::Pod(named(), "there is no such pod, or it has ended".to_owned()))
}

async fn one(
    shared: &Shared,
    application: &WantedApplication,
    namespace: &str,
    pod: &KnownPod,
    done: &mut Protected,
) -> Result<(), ProtectError> {
    let key = &application.key;
    let missing = |why: &str, done: &mut Protected| missing(shared, application, namespace, pod, why, done);
    // A reconciliation that loads an image may take minutes; the runtime does not wait that long.
    let Ok(mut memory) = tokio::time::timeout(APPLICATION_TIMEOUT, shared.memories.turn(key)).await else {
        return missing("it is being loaded on this node", done);
    };
    if application.deleted {
        return Ok(());
    }
    let state = state_of(shared, application);
    let (spec, version) = match role(shared, &mut memory.revisions, application, state.as_deref()).await {
        Ok(NodeRole::Act(spec, version)) => (spec, version),
        Ok(NodeRole::Leave) => return Ok(()),
        Ok(NodeRole::Wait(why)) => {
            match waiting(shared, &mut memory.revisions, key, state.as_deref()).await {
                Ok(Some(acted)) => acted,
                // No revision ran on this node, and none must run before it is ordered.
                Ok(None) if !has_run(state.as_deref()) => return Ok(()),
                Ok(None) => return missing(why, done),
                Err(error) => return missing(&error.to_string(), done),
            }
        }
        Ok(NodeRole::Unclear(failure)) => return missing(&failure.message, done),
        Err(error) => return missing(&error.to_string(), done),
    };
    let Some(state) = state else { return missing("it is not loaded on this node yet", done) };
    let load = &mut memory.state(&state.uid).load;
    match apply(shared, load, &state, &spec, &version).await {
        Ok(AppliedSpec::Report(report)) => {
            if let Some(why) = unclear(&report, &pod.uid) {
                missing(&why, done)?;
            }
            verdict(key, &report, &pod.uid, done)
        }
        Ok(AppliedSpec::Refused(failure)) => missing(&failure.message, done),
        Err(away) => missing(&away.to_string(), done),
    }
}

async fn waiting(
    shared: &Shared,
    revisions: &mut ReadRevisions,
    key: &ApplicationKey,
    state: Option<&StateObject>,
) -> Result<Option<(Arc<ApplicationSpec>, String)>, ApiError> {
    match state {
        Some(state) => last_acted(shared, revisions, key, state).await,
        None => Ok(None),
    }
}

fn has_run(state: Option<&StateObject>) -> bool {
    let status = state.and_then(|state| state.status.as_ref());
    status.is_some_and(|status| status.node.details.observed_revision.is_some())
}

fn missing(
    shared: &Shared,
    application: &WantedApplication,
    namespace: &str,
    pod: &KnownPod,
    why: &str,
    done: &mut Protected,
) -> Result<(), ProtectError> {
    let key = &application.key;
    let in_force = shared.memories.in_force(key).map(|(spec, _)| spec);
    let specs = application.spec.iter().chain(in_force.as_deref());
    let mut meant: Vec<_> = specs.flat_map(in_pods).collect();
    meant.retain(|(_, pods)| pods.matches(namespace, &pod.labels));
    match meant.iter().find(|(link, _)| link.on_unavailable != OnUnavailable::Open) {
        Some((link, _)) => {
            let why = format!("{}: {why}", link.program);
            Err(ProtectError::Closed { application: key.clone(), why })
        }
        None => {
            done.open.extend(meant.first().map(|(link, _)| format!("{key}: {}: {why}", link.program)));
            Ok(())
        }
    }
}

/// Returns why the wanted attachments of a pod are unknown, if they are: a report without links proves nothing.
fn unclear(report: &Report, uid: &str) -> Option<String> {
    let place = UnknownPlace::Pod(uid.to_owned());
    let program = report.programs.iter().find(|program| program.unknown.contains(&place))?;
    let why = program.problems.first().map_or("the pod's network is not known yet", String::as_str);
    Some(format!("{}: {why}", program.name))
}

fn verdict(
    key: &ApplicationKey,
    report: &Report,
    uid: &str,
    done: &mut Protected,
) -> Result<(), ProtectError> {
    for program in &report.programs {
        for link in &program.links {
            let Some(wanted) = link.wanted.as_ref().filter(|wanted| wanted.pod.as_deref() == Some(uid))
            else {
                continue;
            };
            let why = match (&link.status, wanted.on_unavailable) {
                // An older version may be running, which `closed` does not accept.
                (LinkOutcome::Attached, OnUnavailable::Closed) if report.load != ReportedLoad::Loaded => {
                    "only an older version runs".to_owned()
                }
                (LinkOutcome::Attached, _) => {
                    done.attached += 1;
                    continue;
                }
                (LinkOutcome::AttachFailed(failure) | LinkOutcome::DetachFailed(failure), _) => {
                    failure.message.clone()
                }
                (LinkOutcome::NotAttached, _) => report.failure.as_ref().map_or_else(
                    || "its program is not loaded".to_owned(),
                    |failure| failure.message.clone(),
                ),
            };
            let missing = format!("{}: {why}", program.name);
            match wanted.on_unavailable {
                OnUnavailable::Open => done.open.push(format!("{key}: {missing}")),
                OnUnavailable::Closed | OnUnavailable::LastKnown => {
                    return Err(ProtectError::Closed { application: key.clone(), why: missing });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bpfman_apply::report::ProgramReport;

    use super::*;

    #[test]
    fn pod_with_unknown_interfaces_does_not_count_as_protected() {
        let mut program = ProgramReport { name: "guard".to_owned(), ..ProgramReport::default() };
        program.problems.push("the interfaces of pod shop/web are not known yet".to_owned());
        program.unknown.insert(UnknownPlace::Pod("uid-web".to_owned()));
        let report = Report { load: ReportedLoad::Loaded, programs: vec![program], ..Report::default() };
        let why = unclear(&report, "uid-web");
        assert_eq!(why.as_deref(), Some("guard: the interfaces of pod shop/web are not known yet"));
        assert_eq!(unclear(&report, "uid-other"), None);
    }
}
