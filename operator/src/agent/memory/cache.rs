//! Watched state of the cluster and of this machine, as last delivered; kept while the API server is away.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfman_application::spec::ApplicationSpec;
use bpfman_apply::facts::NodeInterface;

use bpfman_runtime::listing::Listing;

use super::Memories;
use crate::agent::objects::application::WantedApplication;
use crate::agent::objects::machine::{KnownPod, NodeFacts, PodKey};
use crate::agent::objects::selector;
use crate::agent::objects::state::StateObject;
use bpfman_application::scope::{ApplicationKey, Scope};

/// Source of watch events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WatchSource {
    Applications(Scope),
    /// State objects of this node, of a scope.
    States(Scope),
    /// The Node object of this node.
    Node,
    /// Pods of this node.
    Pods,
}

impl fmt::Display for WatchSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applications(scope) => write!(f, "{} objects", scope.application_kind()),
            Self::States(scope) => write!(f, "{} objects", scope.state_kind()),
            Self::Node => f.write_str("the Node object"),
            Self::Pods => f.write_str("pods of this node"),
        }
    }
}

impl WatchSource {
    /// All sources from the API server.
    pub const OF_THE_API: [Self; 6] = [
        Self::Applications(Scope::Cluster),
        Self::Applications(Scope::Namespaced),
        Self::States(Scope::Cluster),
        Self::States(Scope::Namespaced),
        Self::Node,
        Self::Pods,
    ];
}

/// Cache of the watched objects.
#[derive(Debug, Default)]
pub struct ObjectCache {
    known: Mutex<KnownObjects>,
}

/// Content of an [`ObjectCache`].
#[derive(Debug, Default)]
pub struct KnownObjects {
    pub applications: Listing<ApplicationKey, Arc<WantedApplication>, 2>,
    /// State objects by application and name. An application has more than one only while an old one is being deleted.
    pub states: Listing<(ApplicationKey, String), Arc<StateObject>, 2>,
    /// This node, if its object exists.
    pub node: Listing<(), NodeFacts>,
    /// Pods of this node that have not ended.
    pub pods: Listing<PodKey, KnownPod>,
    /// Interfaces of this machine; `None` until the daemon listed them.
    pub interfaces: Option<Vec<NodeInterface>>,
    listed: BTreeSet<WatchSource>,
}

impl ObjectCache {
    /// Locks the cache for reading or writing. The lock must not be held across an await.
    pub fn known(&self) -> MutexGuard<'_, KnownObjects> {
        // A panic leaves at most one outdated entry, which the next event corrects.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownObjects {
    /// Records that a list is complete. Returns whether this completed the lists of all API sources for the first time.
    pub fn listed(&mut self, source: WatchSource) -> bool {
        let before = self.complete();
        self.listed.insert(source);
        !before && self.complete()
    }

    /// Returns whether everything was listed once. Before that, a missing object may still exist.
    #[must_use]
    pub fn complete(&self) -> bool {
        WatchSource::OF_THE_API.iter().all(|source| self.listed.contains(source))
    }

    /// Returns the sources that were not listed yet.
    pub fn missing(&self) -> impl Iterator<Item = WatchSource> + '_ {
        WatchSource::OF_THE_API.into_iter().filter(|source| !self.listed.contains(source))
    }

    /// Returns all applications that exist or still have a state object.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<ApplicationKey> {
        let of_states = self.states.values().map(|state| &state.application);
        self.applications.iter().map(|(key, _)| key).chain(of_states).cloned().collect()
    }

    /// Returns whether an application exists or still has a state object.
    #[must_use]
    pub fn has(&self, key: &ApplicationKey) -> bool {
        self.applications.get(key).is_some() || self.states_of(key).next().is_some()
    }

    pub fn states_of<'a>(&'a self, key: &'a ApplicationKey) -> impl Iterator<Item = &'a Arc<StateObject>> {
        let from = self.states.from((key.clone(), String::new())..);
        from.take_while(move |((of, _), _)| of == key).map(|(_, state)| state)
    }

    pub fn put_state(&mut self, state: StateObject) {
        self.states.put(state.application.scope as usize, state.key(), Arc::new(state));
    }

    /// Stores a state object, unless a newer version is known. Returns whether its orders or its deletion changed.
    pub fn learn(&mut self, state: StateObject) -> bool {
        let old = self.states.get(&state.key());
        if old.is_some_and(|old| state.is_older_than(old)) {
            return false;
        }
        let asks = |state: &StateObject| (state.orders.clone(), state.deleted);
        let before = old.map_or_else(Default::default, |old| asks(old));
        let news = asks(&state) != before;
        self.put_state(state);
        news
    }

    /// Returns the applications that select one of these pods, by their newest spec or by the one in force.
    #[must_use]
    pub fn meaning(&self, memories: &Memories, namespace: &str, pods: &[&KnownPod]) -> Vec<ApplicationKey> {
        self.keys_of(memories, |spec| {
            let selectors = selector::pods(spec);
            selectors.iter().any(|one| pods.iter().any(|pod| one.matches(namespace, &pod.labels)))
        })
    }

    /// Returns the applications that attach to interfaces.
    #[must_use]
    pub fn on_interfaces(&self, memories: &Memories) -> Vec<ApplicationKey> {
        self.keys_of(memories, selector::uses_interfaces)
    }

    fn keys_of(&self, memories: &Memories, is_one: impl Fn(&ApplicationSpec) -> bool) -> Vec<ApplicationKey> {
        let is_one = |one: &&Arc<WantedApplication>| {
            one.spec.as_ref().is_ok_and(&is_one)
                || memories.in_force(&one.key).is_some_and(|(spec, _)| is_one(&spec))
        };
        self.applications.values().filter(is_one).map(|one| one.key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::agent::objects::application::Unreadable;

    fn spec(app: &str) -> ApplicationSpec {
        let links = json!([{ "interfaceSelector": { "interfaces": ["eth0"] },
            "networkNamespaces": { "pods": { "matchLabels": { "app": app } } } }]);
        let programs = json!([{ "name": "count", "type": "XDP", "xdp": { "links": links } }]);
        let spec = json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": programs });
        ApplicationSpec::read(None, spec).unwrap()
    }

    #[test]
    fn order_is_news_from_any_source_and_older_orders_are_ignored() {
        let state = |version: &str, revision: Option<&str>| {
            let mut object = json!({
                "apiVersion": "bpfman.io/v1alpha1", "kind": "ClusterBpfApplicationState",
                "metadata": {
                    "name": "guard-1", "uid": "a", "resourceVersion": version,
                    "labels": { "bpfman.io/ownedByProgram": "guard" },
                },
            });
            if let Some(revision) = revision {
                object["metadata"]["annotations"] = json!({ "bpfman.io/revision": revision });
            }
            StateObject::read(Scope::Cluster, serde_json::from_value(object).unwrap()).unwrap()
        };
        let mut known = KnownObjects::default();
        assert!(!known.learn(state("7", None)), "made, and nothing is asked");
        assert!(known.learn(state("9", Some("guard-b"))));
        assert!(!known.learn(state("10", Some("guard-b"))));
        assert!(!known.learn(state("8", None)), "the answer to a write that the order came after");
        let key = ApplicationKey { scope: Scope::Cluster, namespace: None, name: "guard".to_owned() };
        let kept = known.states.get(&(key, "guard-1".to_owned())).unwrap();
        assert_eq!(kept.orders.revision.as_deref(), Some("guard-b"));
    }

    #[test]
    fn pods_are_selected_by_the_version_in_force_not_the_newest() {
        let key = ApplicationKey { scope: Scope::Cluster, namespace: None, name: "guard".to_owned() };
        let (mut known, memories) = (KnownObjects::default(), Memories::default());
        let add = |known: &mut KnownObjects, spec| {
            let key = key.clone();
            let one = WantedApplication { key, uid: "u".to_owned(), generation: 2, deleted: false, spec };
            known.applications.put(0, one.key.clone(), Arc::new(one));
        };
        let pod = |app: &str| KnownPod {
            labels: [("app".to_owned(), app.to_owned())].into(),
            ..KnownPod::default()
        };
        add(&mut known, Ok(spec("new")));
        assert!(known.meaning(&memories, "shop", &[&pod("old")]).is_empty());
        memories.set_in_force(&key, Arc::new(spec("old")), "r-1");
        for app in ["old", "new"] {
            assert_eq!(known.meaning(&memories, "shop", &[&pod(app)]), std::slice::from_ref(&key));
        }
        let unreadable = Unreadable { why: "of a newer definition".to_owned(), node_selector: None };
        add(&mut known, Err(unreadable));
        assert_eq!(known.meaning(&memories, "shop", &[&pod("old")]), std::slice::from_ref(&key));
        assert_eq!(known.on_interfaces(&memories), std::slice::from_ref(&key));
        assert!(known.meaning(&memories, "shop", &[&pod("other")]).is_empty());
    }
}
