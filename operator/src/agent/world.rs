//! What the agent knows of the cluster and of this machine: the last word of each watch.
//!
//! It stays as it is while the API server is away, so that applications are kept true against it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfman_apply::facts::Interface;

use super::application::Application;
use super::key::{ApplicationKey, Scope};
use super::machine::{Node, Pod, PodKey};
use super::selector;
use super::state::StateObject;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Applications of a kind.
    Applications(Scope),
    /// This node's state objects of a kind.
    States(Scope),
    /// This node.
    Node,
    /// Pods of this node.
    Pods,
    /// Network interfaces, from the daemon.
    Interfaces,
}

impl Source {
    /// All that the API server tells.
    pub const OF_THE_API: [Self; 6] = [
        Self::Applications(Scope::Cluster),
        Self::Applications(Scope::Namespaced),
        Self::States(Scope::Cluster),
        Self::States(Scope::Namespaced),
        Self::Node,
        Self::Pods,
    ];
}

/// The last word of each watch.
#[derive(Debug, Default)]
pub struct World {
    known: Mutex<Known>,
}

/// See [`World`].
#[derive(Debug, Default)]
pub struct Known {
    /// Applications.
    pub applications: HashMap<ApplicationKey, Arc<Application>>,
    /// State objects by application and name. More than one of an application only while an old one goes.
    pub states: HashMap<ApplicationKey, BTreeMap<String, Arc<StateObject>>>,
    /// This node; absent if there is no such object.
    pub node: Option<Node>,
    /// Pods of this node in which something runs.
    pub pods: BTreeMap<PodKey, Pod>,
    /// Interfaces of this machine.
    pub interfaces: Vec<Interface>,
    /// What was listed at least once.
    listed: BTreeSet<Source>,
}

impl World {
    /// For a look or a change; nothing waits while it is held.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        // A panic in between would leave one entry old, which the next word of its watch mends.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Notes that a list is complete. True if it is the first time that all of the API's are.
    pub fn listed(&mut self, source: Source) -> bool {
        let before = self.complete();
        self.listed.insert(source);
        !before && self.complete()
    }

    /// Whether everything was listed once. Before, nothing may be concluded from what is not there.
    #[must_use]
    pub fn complete(&self) -> bool {
        Source::OF_THE_API.iter().all(|source| self.listed.contains(source))
    }

    /// What was not listed yet.
    pub fn missing(&self) -> impl Iterator<Item = Source> + '_ {
        Source::OF_THE_API.into_iter().filter(|source| !self.listed.contains(source))
    }

    /// Every application that there is, or that a state object is left of.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<ApplicationKey> {
        self.applications.keys().chain(self.states.keys()).cloned().collect()
    }

    /// Puts a state object in its place.
    pub fn put_state(&mut self, state: StateObject) {
        self.states.entry(state.application.clone()).or_default().insert(state.name.clone(), Arc::new(state));
    }

    /// Forgets a state object.
    pub fn forget_state(&mut self, key: &ApplicationKey, name: &str) {
        if let Some(states) = self.states.get_mut(key) {
            states.remove(name);
            if states.is_empty() {
                self.states.remove(key);
            }
        }
    }

    /// Applications that mean a pod with these labels.
    #[must_use]
    pub fn meaning(&self, namespace: &str, pods: &[&Pod]) -> Vec<ApplicationKey> {
        let means = |application: &Application| {
            let Ok(spec) = &application.spec else { return false };
            selector::pods(spec, application.key.namespace.as_deref())
                .iter()
                .any(|selector| pods.iter().any(|pod| selector.matches(namespace, &pod.labels)))
        };
        self.applications.values().filter(|one| means(one)).map(|one| one.key.clone()).collect()
    }

    /// Applications that attach to interfaces.
    #[must_use]
    pub fn on_interfaces(&self) -> Vec<ApplicationKey> {
        let uses = |one: &Application| one.spec.as_ref().is_ok_and(selector::uses_interfaces);
        self.applications.values().filter(|one| uses(one)).map(|one| one.key.clone()).collect()
    }
}
