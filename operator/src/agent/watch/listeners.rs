//! What each watch changes in the world, and which applications are looked at then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use kube::Resource as _;
use kube::api::DynamicObject;
use kube::runtime::watcher::Error;

use super::Listener;
use crate::agent::memory::cache::Source;
use crate::agent::objects::application::Application;
use crate::agent::objects::machine::{Node, NodeObject, Pod, PodKey, PodObject};
use crate::agent::objects::state::StateObject;
use crate::agent::shared::Shared;
use bpfman_application::scope::{ApplicationKey, Scope};
use bpfman_runtime::queue::Cause;

/// Applications of one kind.
pub struct Applications {
    /// The agent.
    pub agent: Arc<Shared>,
    /// The kind.
    pub scope: Scope,
}

impl Listener for Applications {
    type Object = DynamicObject;
    type Kept = Application;

    fn read(&self, object: DynamicObject) -> Option<Application> {
        Application::read(self.scope, object)
    }

    fn listed(&self, objects: Vec<Application>) {
        let mut known = self.agent.cache.known();
        let mut old: HashMap<_, _> =
            known.applications.extract_if(|key, _| key.scope == self.scope).collect();
        let mut changed = Vec::new();
        for object in objects {
            let key = object.key.clone();
            if old.remove(&key).is_none_or(|old| *old != object) {
                changed.push(key.clone());
            }
            known.applications.insert(key, Arc::new(object));
        }
        changed.extend(old.into_keys());
        drop(known);
        self.agent.listed(Source::Applications(self.scope));
        self.agent.reconcile_soon(&changed, Cause::Changed);
    }

    fn applied(&self, object: DynamicObject) {
        let Some(object) = self.read(object) else { return };
        let key = object.key.clone();
        let mut known = self.agent.cache.known();
        // The controller writes the status of an application again and again; that is nothing to us.
        if known.applications.get(&key).is_some_and(|old| **old == object) {
            return;
        }
        known.applications.insert(key.clone(), Arc::new(object));
        drop(known);
        self.agent.reconcile_soon(&[key], Cause::Changed);
    }

    fn deleted(&self, object: DynamicObject) {
        let Some(object) = self.read(object) else { return };
        self.agent.cache.known().applications.remove(&object.key);
        self.agent.reconcile_soon(&[object.key], Cause::Changed);
    }

    fn failed(&self, error: &Error) {
        self.agent.watch_failed(Source::Applications(self.scope), error);
    }
}

/// This node's state objects of one kind.
pub struct States {
    /// The agent.
    pub agent: Arc<Shared>,
    /// The kind.
    pub scope: Scope,
}

impl Listener for States {
    type Object = DynamicObject;
    type Kept = StateObject;

    fn read(&self, object: DynamicObject) -> Option<StateObject> {
        StateObject::read(self.scope, object)
    }

    fn listed(&self, objects: Vec<StateObject>) {
        let mut known = self.agent.cache.known();
        let mut changed: Vec<ApplicationKey> =
            known.states.extract_if(|key, _| key.scope == self.scope).map(|(key, _)| key).collect();
        for object in objects {
            changed.push(object.application.clone());
            known.put_state(object);
        }
        drop(known);
        self.agent.listed(Source::States(self.scope));
        self.agent.reconcile_soon(&changed, Cause::Maybe);
    }

    fn applied(&self, object: DynamicObject) {
        let Some(object) = self.read(object) else { return };
        let key = object.application.clone();
        let mut known = self.agent.cache.known();
        let old = known.states.get(&key).and_then(|states| states.get(&object.name));
        if old.is_some_and(|old| object.is_older_than(old)) {
            // A word of ours, or one before it, that comes after the answer to a later one. With it, the next write
            // would be refused.
            return;
        }
        let (asks, says) =
            old.map_or((true, true), |old| (!old.asks_the_same(&object), old.status != object.status));
        if says && old.is_some() {
            // Not what we wrote: somebody else's word.
            self.agent.memories.hear_other(&key, &object.uid, Instant::now());
        }
        known.put_state(object);
        drop(known);
        if asks {
            self.agent.reconcile_soon(&[key], Cause::Changed);
        } else if says {
            self.agent.reconcile_soon(&[key], Cause::Maybe);
        }
    }

    fn deleted(&self, object: DynamicObject) {
        let Some(object) = self.read(object) else { return };
        self.agent.cache.known().forget_state(&object.application, &object.name);
        self.agent.reconcile_soon(&[object.application], Cause::Changed);
    }

    fn failed(&self, error: &Error) {
        self.agent.watch_failed(Source::States(self.scope), error);
    }
}

/// This node.
pub struct ThisNode {
    /// The agent.
    pub agent: Arc<Shared>,
}

impl ThisNode {
    fn is_now(&self, node: Option<Node>) {
        let mut known = self.agent.cache.known();
        if known.node == node {
            return;
        }
        known.node = node;
        drop(known);
        self.agent.reconcile_all(Cause::Changed);
    }
}

impl Listener for ThisNode {
    type Object = NodeObject;
    type Kept = Node;

    fn read(&self, object: NodeObject) -> Option<Node> {
        Some(Node::read(object))
    }

    fn listed(&self, objects: Vec<Node>) {
        self.is_now(objects.into_iter().next());
        self.agent.listed(Source::Node);
    }

    fn applied(&self, object: NodeObject) {
        self.is_now(Some(Node::read(object)));
    }

    fn deleted(&self, _: NodeObject) {
        self.is_now(None);
    }

    fn failed(&self, error: &Error) {
        self.agent.watch_failed(Source::Node, error);
    }
}

/// Pods of this node.
pub struct Pods {
    /// The agent.
    pub agent: Arc<Shared>,
}

impl Pods {
    fn is_now(&self, key: PodKey, pod: Option<Pod>) {
        let mut known = self.agent.cache.known();
        let old = match pod.clone() {
            Some(pod) => known.pods.insert(key.clone(), pod),
            None => known.pods.remove(&key),
        };
        if old == pod {
            return;
        }
        let gone = |old: &&Pod| pod.as_ref().is_none_or(|pod| pod.uid != old.uid);
        if let Some(old) = old.as_ref().filter(gone) {
            self.agent.arriving.forget(&old.uid);
        }
        let pods: Vec<&Pod> = old.iter().chain(&pod).collect();
        let meaning = known.meaning(&self.agent.memories, &key.0, &pods);
        drop(known);
        self.agent.reconcile_soon(&meaning, Cause::Changed);
    }
}

impl Listener for Pods {
    type Object = PodObject;
    type Kept = (PodKey, Pod);

    fn read(&self, object: PodObject) -> Option<(PodKey, Pod)> {
        Pod::read(object)
    }

    fn listed(&self, objects: Vec<(PodKey, Pod)>) {
        let mut gone = std::mem::take(&mut self.agent.cache.known().pods);
        for (key, pod) in objects {
            // Put back first, so that it only counts as changed if it is.
            if let Some(old) = gone.remove(&key) {
                self.agent.cache.known().pods.insert(key.clone(), old);
            }
            self.is_now(key, Some(pod));
        }
        for (key, pod) in gone {
            self.agent.arriving.forget(&pod.uid);
            let agent = &self.agent;
            let meaning = agent.cache.known().meaning(&agent.memories, &key.0, &[&pod]);
            self.agent.reconcile_soon(&meaning, Cause::Changed);
        }
        self.agent.listed(Source::Pods);
    }

    fn applied(&self, object: PodObject) {
        let key = (
            object.meta().namespace.clone().unwrap_or_default(),
            object.meta().name.clone().unwrap_or_default(),
        );
        let pod = Pod::read(object).map(|(_, pod)| pod);
        self.is_now(key, pod);
    }

    fn deleted(&self, object: PodObject) {
        let metadata = object.metadata;
        self.is_now((metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default()), None);
    }

    fn failed(&self, error: &Error) {
        self.agent.watch_failed(Source::Pods, error);
    }
}
