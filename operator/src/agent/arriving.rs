//! Pods whose network is being set up, and in which nothing runs yet.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfman_apply::facts::Netns;

use super::machine::{Pod, PodKey};

/// A sandbox that never got a container is forgotten after this time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// A pod whose network is being set up.
#[derive(Clone, Debug)]
pub struct Arriving {
    /// Namespace and name.
    pub key: PodKey,
    /// What is known of it.
    pub pod: Pod,
    /// Its network namespace, as the daemon opens it.
    pub netns: Netns,
    /// When it came.
    since: Instant,
}

/// All of them, by uid.
#[derive(Debug, Default)]
pub struct ArrivingPods(Mutex<HashMap<String, Arriving>>);

impl ArrivingPods {
    /// One more, or one again.
    pub fn add(&self, key: PodKey, pod: Pod, netns: Netns) {
        let arriving = Arriving { key, netns, since: Instant::now(), pod };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, arriving| arriving.since.elapsed() < FORGOTTEN_AFTER);
        all.insert(arriving.pod.uid.clone(), arriving);
    }

    /// One is gone.
    pub fn remove(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// All that there are.
    #[must_use]
    pub fn all(&self) -> HashMap<String, Arriving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
