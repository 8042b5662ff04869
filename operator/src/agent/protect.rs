//! A pod whose network is being set up: its attachments are made before its first packet, or it is said why not.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfman_application::place::OnUnavailable;
use bpfman_apply::facts::Netns;
use bpfman_apply::report::{LinkOutcome, LoadOutcome, Report};
use kube::Api;

use super::Shared;
use super::application::Application;
use super::bring::{Brought, bring};
use super::key::ApplicationKey;
use super::machine::{Pod, PodObject, pods};
use super::part::{Part, part};
use super::queue::Cause;
use super::tell::state_of;

/// A pod, as the network plugin names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodToProtect {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid, if the plugin was told it.
    pub uid: Option<String>,
    /// Its network namespace, as the daemon opens it, with inode and cookie.
    pub netns: Netns,
}

/// What was done for a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// Attachments that were made, or were there.
    pub attached: usize,
    /// Attachments that could not be made and that the pod may start without: what is missing, for people.
    pub open: Vec<String>,
}

/// Why a pod must not start.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    /// The agent does not know yet which applications there are.
    #[error("the node's agent is not ready: {0}")]
    NotReady(String),
    /// The pod is not known, or its labels cannot be asked for.
    #[error("pod {0} cannot be asked for: {1}")]
    Pod(String, String),
    /// An attachment that has to be there could not be made.
    #[error("{application}: {why}")]
    Closed {
        /// Whose.
        application: ApplicationKey,
        /// What failed.
        why: String,
    },
}

/// Makes all attachments of a pod true, now.
///
/// # Errors
/// [`ProtectError`]: the pod must not start. Attachments that were made stay; the pod is tried again.
pub async fn protect(shared: &Arc<Shared>, pod: &PodToProtect) -> Result<Protected, ProtectError> {
    if let Some(why) = shared.not_ready() {
        return Err(ProtectError::NotReady(why));
    }
    let known = known_pod(shared, pod).await?;
    let key = (pod.namespace.clone(), pod.name.clone());
    shared.arriving.add(key, known.clone(), pod.netns.clone());
    let applications = {
        let world = shared.world.known();
        let keys = world.meaning(&pod.namespace, &[&known]);
        keys.iter().filter_map(|key| world.applications.get(key).cloned()).collect::<Vec<_>>()
    };
    let mut done = Protected::default();
    for application in applications {
        one(shared, &application, &known.uid, &mut done).await?;
        // What came of it is written by the next look.
        shared.queue.add(&application.key, Cause::Changed);
    }
    Ok(done)
}

/// What is known of the pod. One that the watch has not told of yet is asked for.
async fn known_pod(shared: &Shared, pod: &PodToProtect) -> Result<Pod, ProtectError> {
    let key = (pod.namespace.clone(), pod.name.clone());
    let named = || format!("{}/{}", pod.namespace, pod.name);
    let right = |known: &Pod| pod.uid.as_ref().is_none_or(|uid| *uid == known.uid);
    if let Some(known) = shared.world.known().pods.get(&key).filter(|known| right(known)) {
        return Ok(known.clone());
    }
    let api: Api<PodObject> = Api::namespaced_with(shared.cluster.client(), &pod.namespace, &pods());
    let object = api.get(&pod.name).await.map_err(|error| ProtectError::Pod(named(), error.to_string()))?;
    let read = Pod::read(object).map(|(_, known)| known);
    read.filter(right)
        .ok_or_else(|| ProtectError::Pod(named(), "there is no such pod, or it has ended".to_owned()))
}

/// Brings one application to what it wants, and looks what that means for the pod.
async fn one(
    shared: &Shared,
    application: &Application,
    uid: &str,
    done: &mut Protected,
) -> Result<(), ProtectError> {
    let key = &application.key;
    let lock = shared.locks.of(key);
    let _alone = lock.lock().await;
    let state = state_of(shared, application);
    let Ok(Part::Act(spec, version)) = part(shared, application, state.as_deref()).await else {
        return Ok(());
    };
    if application.deleted {
        return Ok(());
    }
    let closed = |why: String| ProtectError::Closed { application: key.clone(), why };
    let Some(state) = state else {
        // It was never tried here: there is nothing that could be last known.
        return match strictest(application) {
            OnUnavailable::Open => {
                done.open.push(format!("{key}: not loaded yet"));
                Ok(())
            }
            _ => Err(closed("it is not loaded on this node yet".to_owned())),
        };
    };
    match bring(shared, key, &state, &spec, &version).await {
        Ok(Brought::Report(report)) => verdict(key, &report, uid, done),
        Ok(Brought::Refused(failure)) => match strictest(application) {
            OnUnavailable::Open => {
                done.open.push(format!("{key}: {}", failure.message));
                Ok(())
            }
            _ => Err(closed(failure.message)),
        },
        Err(away) => match strictest(application) {
            OnUnavailable::Open => {
                done.open.push(format!("{key}: {away}"));
                Ok(())
            }
            _ => Err(closed(away.to_string())),
        },
    }
}

/// What a report means for a pod: each of its attachments is there, or may be missing.
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
                // It may be that an older version runs: that is what `closed` does not take.
                (LinkOutcome::Attached, OnUnavailable::Closed) if report.load != LoadOutcome::Loaded => {
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

/// The strictest word of an application's attachments, where the single ones could not be found out.
fn strictest(application: &Application) -> OnUnavailable {
    use bpfman_application::spec::Spec;
    let Ok(spec) = &application.spec else { return OnUnavailable::Open };
    let mut words: BTreeMap<u8, OnUnavailable> = BTreeMap::new();
    let mut add = |word: OnUnavailable| {
        let rank = match word {
            OnUnavailable::Open => 0,
            OnUnavailable::LastKnown => 1,
            OnUnavailable::Closed => 2,
        };
        words.insert(rank, word);
    };
    match spec {
        Spec::Cluster(spec) => {
            for program in &spec.programs {
                let xdp = program.xdp.iter().flat_map(|block| &block.links);
                xdp.for_each(|link| add(link.point.on_unavailable));
                let tc = program.tc.iter().flat_map(|block| &block.links);
                tc.for_each(|link| add(link.point.at.on_unavailable));
                let tcx = program.tcx.iter().flat_map(|block| &block.links);
                tcx.for_each(|link| add(link.point.on_unavailable));
            }
        }
        Spec::Namespaced(spec) => {
            for program in &spec.programs {
                let xdp = program.xdp.iter().flat_map(|block| &block.links);
                xdp.for_each(|link| add(link.point.on_unavailable));
                let tc = program.tc.iter().flat_map(|block| &block.links);
                tc.for_each(|link| add(link.point.at.on_unavailable));
                let tcx = program.tcx.iter().flat_map(|block| &block.links);
                tcx.for_each(|link| add(link.point.on_unavailable));
            }
        }
    }
    words.into_values().next_back().unwrap_or_default()
}
