//! Arriving pods: their network is being set up, and no container runs yet.
//!
//! Only the network plugin reports the namespace of such a pod, once. A file below `/run` keeps it for the next start
//! of the agent, which would otherwise treat the pod's programs as unwanted.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bpfman_apply::facts::{Netns, NodeInterface};
use serde::{Deserialize, Serialize};

use crate::agent::objects::machine::{KnownPod, PodKey};

/// Time after which a sandbox without a pod in the API server is dropped.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Pod with a network that is being set up.
#[derive(Clone, Debug)]
pub struct Arriving {
    /// Namespace and name.
    pub key: PodKey,
    /// Known fields of the pod.
    pub pod: KnownPod,
    /// Network namespace, as the daemon opens it.
    pub netns: Netns,
    /// Interfaces of the namespace at that time.
    pub interfaces: Vec<NodeInterface>,
    since: Option<Instant>,
}

impl Arriving {
    /// Creates an entry for a pod that arrives now.
    #[must_use]
    pub fn now(key: PodKey, pod: KnownPod, netns: Netns, interfaces: Vec<NodeInterface>) -> Self {
        Self { key, pod, netns, interfaces, since: Some(Instant::now()) }
    }

    /// Returns whether the pod arrived recently, so that the watch may not have delivered it yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() < FORGOTTEN_AFTER)
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    namespace: String,
    name: String,
    uid: String,
    labels: BTreeMap<String, String>,
    path: String,
    inode: u64,
    cookie: u64,
    interfaces: Vec<String>,
}

/// Arriving pods by uid.
#[derive(Debug, Default)]
pub struct ArrivingPods {
    pods: Mutex<HashMap<String, Arriving>>,
    file: OnceLock<PathBuf>,
}

impl ArrivingPods {
    /// Stores the pods in a file from now on, and reads those of an earlier process.
    pub fn keep_in(&self, file: &Path) {
        let read = std::fs::read(file).map_err(|error| error.to_string());
        let kept = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        let kept: Vec<Kept> = kept.unwrap_or_else(|why| {
            tracing::info!(file = %file.display(), why, "no agent before this one left pods that arrive");
            Vec::new()
        });
        self.change(|all| all.extend(kept.into_iter().map(|kept| (kept.uid.clone(), kept.into()))));
        let _set = self.file.set(file.to_owned());
    }

    /// Adds or replaces a pod. `known` returns whether the API server has a pod of this uid.
    pub fn add(&self, arriving: Arriving, known: impl Fn(&str) -> bool) {
        self.change(|all| {
            all.retain(|uid, arriving| arriving.is_new() || known(uid));
            all.insert(arriving.pod.uid.clone(), arriving);
        });
    }

    /// Removes the sandbox with this namespace. Another sandbox of the same pod may have arrived already, and stays.
    pub fn remove(&self, key: &PodKey, netns: &str) {
        let file = Path::new(netns).file_name();
        let same =
            |arriving: &Arriving| arriving.key == *key && Path::new(&arriving.netns.path).file_name() == file;
        self.change(|all| all.retain(|_, arriving| !same(arriving)));
    }

    /// Removes a deleted pod, whatever the state of its sandbox.
    pub fn forget(&self, uid: &str) {
        if self.pods.lock().unwrap_or_else(PoisonError::into_inner).contains_key(uid) {
            self.change(|all| all.retain(|one, _| one != uid));
        }
    }

    #[must_use]
    pub fn all(&self) -> HashMap<String, Arriving> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, Arriving>)) {
        let mut all = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        let Some(file) = self.file.get() else { return };
        let kept: Vec<Kept> = all.values().map(Kept::from).collect();
        if let Err(error) = bpfman_cni::write::json(file, &kept) {
            tracing::warn!(file = %file.display(), %error, "pods that arrive are not kept over a restart");
        }
    }
}

impl From<&Arriving> for Kept {
    fn from(arriving: &Arriving) -> Self {
        let Arriving { key, pod, netns, interfaces, .. } = arriving;
        Self {
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: pod.uid.clone(),
            labels: pod.labels.clone(),
            path: netns.path.clone(),
            inode: netns.identity.0,
            cookie: netns.identity.1,
            interfaces: interfaces.iter().map(|interface| interface.name.clone()).collect(),
        }
    }
}

impl From<Kept> for Arriving {
    fn from(kept: Kept) -> Self {
        let path = kept.path;
        let interface =
            |name| NodeInterface { name, netns: Some(path.clone()), up: true, ..NodeInterface::default() };
        Self {
            interfaces: kept.interfaces.into_iter().map(interface).collect(),
            key: (kept.namespace, kept.name),
            pod: KnownPod { uid: kept.uid, labels: kept.labels, ..KnownPod::default() },
            netns: Netns { path: path.clone(), identity: (kept.inode, kept.cookie) },
            since: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn arriving(uid: &str, path: &str) -> Arriving {
        let netns = Netns { path: path.to_owned(), identity: (1, 2) };
        let eth0 = NodeInterface {
            name: "eth0".to_owned(),
            netns: Some(path.to_owned()),
            up: true,
            ..Default::default()
        };
        let pod = KnownPod { uid: uid.to_owned(), ..KnownPod::default() };
        Arriving::now(("shop".to_owned(), "web".to_owned()), pod, netns, vec![eth0])
    }

    #[test]
    fn pods_that_arrive_are_kept_over_a_restart_of_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pods.json");
        let first = ArrivingPods::default();
        first.keep_in(&file);
        first.add(arriving("a", "/run/netns/a"), |_| true);
        let second = ArrivingPods::default();
        second.keep_in(&file);
        let (old, new) = (first.all().remove("a").unwrap(), second.all().remove("a").unwrap());
        assert_eq!(
            (old.key, old.netns, old.interfaces),
            (new.key.clone(), new.netns.clone(), new.interfaces.clone())
        );
        assert!(!new.is_new(), "it counts only if the API server knows the pod");
        second.add(arriving("b", "/run/netns/b"), |_| false);
        assert_eq!(second.all().into_keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn a_pod_that_is_gone_arrives_no_more() {
        let pods = ArrivingPods::default();
        pods.add(arriving("a", "/run/netns/a"), |_| true);
        pods.forget("b");
        assert_eq!(pods.all().len(), 1);
        pods.forget("a");
        assert!(pods.all().is_empty());
    }

    #[test]
    fn an_old_sandbox_that_ends_leaves_the_new_one() {
        let pods = ArrivingPods::default();
        pods.add(arriving("a", "/run/netns/new"), |_| true);
        let key = ("shop".to_owned(), "web".to_owned());
        pods.remove(&key, "/var/run/netns/old");
        assert_eq!(pods.all().len(), 1);
        pods.remove(&key, "/var/run/netns/new");
        assert!(pods.all().is_empty());
    }
}
