//! State that the agent keeps for each application beside the watched objects. It is dropped with the application.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bpfman_application::scope::ApplicationKey;
use bpfman_application::spec::ApplicationSpec;
use bpfman_apply::report::Report;
use tokio::sync::{OwnedMutexGuard, watch};

use super::last_written::LastWritten;
use super::registry_backoff::RegistryBackoff;
use super::write_pace::WritePace;
use crate::agent::gates::Soak;
use crate::agent::objects::revision::ReadRevisions;
use crate::agent::status::notes::LastEventReport;

/// State that only the reconciliation of an application accesses: its lock serializes all work on the application.
#[derive(Debug, Default)]
pub struct ApplicationMemory {
    /// Number of consecutive reconciliations in which a call was interrupted while the daemon was up.
    pub broken_off: u32,
    /// Revisions that were read.
    pub revisions: ReadRevisions,
    /// More than one only while an old object is being deleted.
    states: HashMap<String, StateMemory>,
}

/// State kept for one state object.
#[derive(Debug, Default)]
pub struct StateMemory {
    pub load: LoadMemory,
    pub writes: WriteMemory,
    pub soak: Option<Soak>,
}

/// State of loads for a state object.
#[derive(Debug, Default)]
pub struct LoadMemory {
    /// Registry access and its backoff.
    pub registry: RegistryBackoff,
    /// True if no programs of an earlier state object remain; none appear later.
    pub settled: bool,
}

/// State of writes of a state object.
#[derive(Debug, Default)]
pub struct WriteMemory {
    /// Fields that the API server dropped.
    pub last: LastWritten,
    /// Rate limit of writes.
    pub pace: WritePace,
    /// Last published event; `None` if this agent published none.
    pub told: Option<LastEventReport>,
}

impl ApplicationMemory {
    /// Returns the state of a state object.
    pub fn state(&mut self, uid: &str) -> &mut StateMemory {
        self.states.entry(uid.to_owned()).or_default()
    }

    /// Drops the state of all other state objects.
    pub fn keep_states(&mut self, are_there: impl Fn(&str) -> bool) {
        self.states.retain(|uid, _| are_there(uid));
    }
}

/// State that may be read while the application is being reconciled.
#[derive(Debug, Default)]
pub struct Published {
    /// Spec and version that this agent last applied. With a rollout, this is not the newest spec.
    pub in_force: Option<(Arc<ApplicationSpec>, String)>,
    counts: (u64, u64),
    netns: BTreeSet<String>,
    other_writers: HashMap<String, Instant>,
}

#[derive(Debug, Default)]
struct Entry {
    lock: Arc<tokio::sync::Mutex<ApplicationMemory>>,
    published: Published,
}

/// Exclusive right to work on an application.
pub type ApplicationTurn = OwnedMutexGuard<ApplicationMemory>;

/// State of all applications.
#[derive(Debug)]
pub struct Memories {
    all: Mutex<HashMap<ApplicationKey, Entry>>,
    netns: watch::Sender<BTreeSet<String>>,
}

impl Default for Memories {
    fn default() -> Self {
        Self { all: Mutex::default(), netns: watch::Sender::new(BTreeSet::new()) }
    }
}

impl Memories {
    fn all(&self) -> MutexGuard<'_, HashMap<ApplicationKey, Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self, key: &ApplicationKey) -> Arc<tokio::sync::Mutex<ApplicationMemory>> {
        Arc::clone(&self.all().entry(key.clone()).or_default().lock)
    }

    /// Waits for the exclusive right to work on an application.
    pub async fn turn(&self, key: &ApplicationKey) -> ApplicationTurn {
        self.lock(key).lock_owned().await
    }

    /// Returns the right to work on an application, if it is free.
    pub fn turn_now(&self, key: &ApplicationKey) -> Option<ApplicationTurn> {
        self.lock(key).try_lock_owned().ok()
    }

    /// Drops the state of a deleted application, unless another task waits for its turn; that task will do the same.
    pub fn forget(&self, key: &ApplicationKey, turn: ApplicationTurn) {
        let mut all = self.all();
        drop(turn);
        if all.get(key).is_some_and(|entry| Arc::strong_count(&entry.lock) == 1) {
            all.remove(key);
        }
        self.publish_netns(all);
    }

    /// Clears the state of an application that is not wanted on this node any more.
    pub fn leave(&self, key: &ApplicationKey) {
        self.set_netns(key, std::iter::empty());
        self.all().entry(key.clone()).or_default().published.in_force = None;
    }

    /// Records the spec that this agent applies from now on.
    pub fn set_in_force(&self, key: &ApplicationKey, spec: Arc<ApplicationSpec>, version: &str) {
        self.all().entry(key.clone()).or_default().published.in_force = Some((spec, version.to_owned()));
    }

    /// Returns the spec that this agent last applied.
    #[must_use]
    pub fn in_force(&self, key: &ApplicationKey) -> Option<(Arc<ApplicationSpec>, String)> {
        self.all().get(key)?.published.in_force.clone()
    }

    /// Records the network namespaces that the daemon must watch for an application, by path.
    pub fn set_netns(&self, key: &ApplicationKey, paths: impl Iterator<Item = String>) {
        let mut all = self.all();
        all.entry(key.clone()).or_default().published.netns = paths.collect();
        self.publish_netns(all);
    }

    fn publish_netns(&self, all: MutexGuard<'_, HashMap<ApplicationKey, Entry>>) {
        let now: BTreeSet<_> = all.values().flat_map(|entry| &entry.published.netns).cloned().collect();
        drop(all);
        self.netns.send_if_modified(|all| {
            let changed = *all != now;
            *all = now;
            changed
        });
    }

    /// Subscribes to the network namespaces of all applications.
    #[must_use]
    pub fn follow_netns(&self) -> watch::Receiver<BTreeSet<String>> {
        self.netns.subscribe()
    }

    /// Records the numbers of programs and links of an application.
    pub fn count(&self, key: &ApplicationKey, report: &Report) {
        let programs = report.programs.iter().filter(|program| program.id.is_some()).count();
        let links = report.programs.iter().flat_map(|program| &program.links);
        let links = links.filter(|link| link.id.is_some()).count();
        self.all().entry(key.clone()).or_default().published.counts = (programs as u64, links as u64);
    }

    /// Returns the numbers of programs and links of all applications, as of their last reconciliations.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let all = self.all();
        let counts = all.values().map(|entry| entry.published.counts);
        counts.fold((0, 0), |(programs, links), one| (programs + one.0, links + one.1))
    }

    /// Records that another writer wrote a state object.
    pub fn note_other_writer(&self, key: &ApplicationKey, uid: &str, now: Instant) {
        let mut all = self.all();
        all.entry(key.clone()).or_default().published.other_writers.insert(uid.to_owned(), now);
    }

    /// Returns the time at which another writer last wrote a state object.
    #[must_use]
    pub fn other_writer(&self, key: &ApplicationKey, uid: &str) -> Option<Instant> {
        self.all().get(key)?.published.other_writers.get(uid).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bpfman_application::scope::Scope;

    use super::*;

    fn key(name: &str) -> ApplicationKey {
        ApplicationKey { scope: Scope::Cluster, namespace: None, name: name.to_owned() }
    }

    #[tokio::test]
    async fn cached_data_is_dropped_with_the_application_unless_awaited() {
        let (memories, now) = (Memories::default(), Instant::now());
        let mut turn = memories.turn(&key("a")).await;
        turn.state("uid").load.settled = true;
        memories.note_other_writer(&key("a"), "uid", now);
        memories.set_netns(&key("a"), ["/proc/1/ns/net".to_owned()].into_iter());
        assert!(memories.turn_now(&key("a")).is_none(), "one at a time");
        assert!(memories.turn_now(&key("b")).is_some(), "others go on");
        let waiting = memories.lock(&key("a"));
        memories.forget(&key("a"), turn);
        assert!(memories.other_writer(&key("a"), "uid").is_some());
        drop(waiting);
        memories.forget(&key("a"), memories.turn_now(&key("a")).unwrap());
        assert_eq!(memories.other_writer(&key("a"), "uid"), None);
        assert!(memories.follow_netns().borrow().is_empty());
        assert!(!memories.turn(&key("a")).await.state("uid").load.settled);
    }

    #[test]
    fn memory_of_a_removed_state_object_is_dropped() {
        let mut memory = ApplicationMemory::default();
        memory.state("old").load.settled = true;
        memory.state("new").load.settled = true;
        memory.keep_states(|uid| uid == "new");
        assert!(!memory.state("old").load.settled && memory.state("new").load.settled);
    }
}
