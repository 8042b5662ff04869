//! Handlers of watch events: they update the cache and queue the affected applications.

use std::sync::Arc;
use std::time::Instant;

use bpfman_application::scope::Scope;
use bpfman_runtime::listing::ListingChange;
use bpfman_runtime::queue::QueueCause;
use bpfman_runtime::wire::{WireNode, WirePod};
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;

use crate::agent::objects::application::WantedApplication;
use crate::agent::objects::machine::{KnownPod, NodeFacts, PodKey};
use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;

pub fn applications(agent: &Shared, scope: Scope, event: Event<DynamicObject>) {
    let mut known = agent.cache.known();
    let key = |object| Some(WantedApplication::read(scope, object)?.key);
    let changed = match known.applications.take(scope as usize, event, key) {
        ListingChange::Present(object) => {
            let Some(object) = WantedApplication::read(scope, object) else { return };
            // The controller writes the status of an application often; that changes nothing here.
            if known.applications.seen(&object.key).is_some_and(|old| **old == object) {
                return;
            }
            let key = object.key.clone();
            known.applications.put(scope as usize, key.clone(), Arc::new(object));
            vec![key]
        }
        ListingChange::Gone(gone) => gone.into_iter().map(|(key, _)| key).collect(),
    };
    drop(known);
    agent.reconcile_soon(&changed, QueueCause::Changed);
}

/// Handles an event of a state object of this node.
pub fn states(agent: &Shared, scope: Scope, event: Event<DynamicObject>) {
    let listed = matches!(event, Event::InitDone);
    let mut known = agent.cache.known();
    let key = |object| Some(StateObject::read(scope, object)?.key());
    let (changed, cause) = match known.states.take(scope as usize, event, key) {
        ListingChange::Present(object) => {
            let Some(object) = StateObject::read(scope, object) else { return };
            let old = known.states.seen(&object.key());
            if old.as_ref().is_some_and(|old| object.is_older_than(old)) {
                // The event is older than the result of the last write: storing it would make the next write fail.
                return;
            }
            let (asks, says) = old.as_ref().map_or((true, true), |old| {
                (!old.requires_same_actions(&object), old.status != object.status)
            });
            if says && old.is_some() {
                // The status differs from the agent's last write, so another writer changed it.
                agent.memories.note_other_writer(&object.application, &object.uid, Instant::now());
            }
            let key = object.application.clone();
            known.put_state(object);
            match (asks, says) {
                (true, _) => (vec![key], QueueCause::Changed),
                (false, true) => (vec![key], QueueCause::Maybe),
                (false, false) => return,
            }
        }
        ListingChange::Gone(gone) => {
            (gone.into_iter().map(|((key, _), _)| key).collect(), QueueCause::Changed)
        }
    };
    drop(known);
    agent.reconcile_soon(&changed, cause);
    if listed {
        // More may have happened between two watches than the list shows.
        agent.reconcile_all(QueueCause::Maybe);
    }
}

pub fn node(agent: &Shared, event: Event<WireNode>) {
    let mut known = agent.cache.known();
    let changed = match known.node.take(0, event, |_| Some(())) {
        ListingChange::Present(object) => {
            let node = NodeFacts::read(object);
            known.node.put(0, (), node.clone()).is_none_or(|old| old != node)
        }
        ListingChange::Gone(gone) => !gone.is_empty(),
    };
    drop(known);
    if changed {
        agent.reconcile_all(QueueCause::Changed);
    }
}

/// Handles an event of a pod of this node.
pub fn pods(agent: &Shared, event: Event<WirePod>) {
    let key = |object: &WirePod| -> PodKey {
        let metadata = &object.metadata;
        (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
    };
    let mut known = agent.cache.known();
    let changed = match known.pods.take(0, event, |object| Some(key(&object))) {
        ListingChange::Present(object) => {
            let (key, pod) = (key(&object), KnownPod::read(object));
            let old = match pod.clone() {
                Some(pod) => known.pods.put(0, key.clone(), pod),
                None => known.pods.remove(&key),
            };
            if old == pod {
                return;
            }
            vec![(key, old, pod)]
        }
        ListingChange::Gone(gone) => gone.into_iter().map(|(key, pod)| (key, Some(pod), None)).collect(),
    };
    let mut meaning = Vec::new();
    for (key, old, pod) in &changed {
        let gone = |old: &&KnownPod| pod.as_ref().is_none_or(|pod| pod.uid != old.uid);
        if let Some(old) = old.as_ref().filter(gone) {
            agent.arriving.forget(&old.uid);
        }
        let pods: Vec<&KnownPod> = old.iter().chain(pod).collect();
        meaning.extend(known.meaning(&agent.memories, &key.0, &pods));
    }
    drop(known);
    agent.reconcile_soon(&meaning, QueueCause::Changed);
}
