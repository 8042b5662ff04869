//! Network namespaces without a name that the daemon is to watch for interfaces: those of pods.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use bpfman_application::scope::ApplicationKey;

/// Which ones, over all applications.
#[derive(Debug)]
pub struct WatchedNetns {
    by_application: Mutex<HashMap<ApplicationKey, BTreeSet<String>>>,
    all: watch::Sender<BTreeSet<String>>,
}

impl Default for WatchedNetns {
    fn default() -> Self {
        Self { by_application: Mutex::default(), all: watch::Sender::new(BTreeSet::new()) }
    }
}

impl WatchedNetns {
    /// Those of one application, by path.
    pub fn set(&self, key: &ApplicationKey, paths: impl Iterator<Item = String>) {
        let mut by_application = self.by_application.lock().unwrap_or_else(PoisonError::into_inner);
        let paths: BTreeSet<String> = paths.collect();
        match paths.is_empty() {
            true => by_application.remove(key),
            false => by_application.insert(key.clone(), paths),
        };
        let now: BTreeSet<_> = by_application.values().flatten().cloned().collect();
        drop(by_application);
        self.all.send_if_modified(|all| {
            let changed = *all != now;
            *all = now;
            changed
        });
    }

    /// Follows all of them.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<BTreeSet<String>> {
        self.all.subscribe()
    }
}
