//! Which keys to work on, and when: each at most once at a time, soon after its first change, then at most once in a
//! while, failures later and later, and never forgetting the last change.

mod shares;

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::backoff::{after, jittered};

use shares::Shares;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(300);

/// Waits for a time; for ever, if there is none.
pub async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Why a key is to be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueCause {
    /// Something that it depends on is another: it is worked on at once, also after failures.
    Changed,
    /// Something may be another, perhaps by our own doing. A key that waits after a failure goes on waiting: a try that
    /// fails must not be the cause of the next one.
    Maybe,
}

/// What is due when. Pure: the caller passes the time.
#[derive(Debug)]
pub struct Schedule<K> {
    /// How long to wait for more after the first change.
    settle: Duration,
    /// Least time between two turns of one key.
    pause: Duration,
    entries: HashMap<K, Entry>,
    queue: BTreeSet<(Instant, K)>,
    shares: Shares<K>,
}

/// One key.
#[derive(Debug, Default)]
struct Entry {
    /// When its turn is.
    due: Option<Instant>,
    /// When it last was.
    last: Option<Instant>,
    /// It is being worked on.
    busy: bool,
    /// It changed meanwhile; its next turn is at this time.
    again: Option<Instant>,
    /// [`QueueCause::Maybe`] came meanwhile.
    maybe: bool,
    /// In a row.
    failures: u32,
}

impl<K: Clone + Eq + Hash + Ord> Schedule<K> {
    /// Waits `settle` after a first change and `pause` between turns.
    #[must_use]
    pub fn new(settle: Duration, pause: Duration) -> Self {
        Self { settle, pause, entries: HashMap::new(), queue: BTreeSet::new(), shares: Shares::default() }
    }

    /// A key is to be worked on.
    pub fn add(&mut self, now: Instant, key: &K, cause: QueueCause) {
        if cause == QueueCause::Maybe
            && let Some(entry) = self.entries.get_mut(key)
        {
            if entry.busy {
                entry.maybe = true;
                return;
            }
            if entry.failures > 0 && entry.due.is_some() {
                return;
            }
        }
        self.mark(now, key);
    }

    /// A key changed.
    pub fn mark(&mut self, now: Instant, key: &K) {
        self.mark_at(now + self.settle, key);
    }

    /// A key is to be worked on at a certain time, or before.
    pub fn mark_at(&mut self, when: Instant, key: &K) {
        let entry = self.entries.entry(key.clone()).or_default();
        let when = entry.last.map_or(when, |last| when.max(last + self.pause));
        if entry.busy {
            entry.again = Some(entry.again.map_or(when, |again| again.min(when)));
            return;
        }
        match entry.due {
            Some(due) if due <= when => return,
            Some(due) => _ = self.queue.remove(&(due, key.clone())),
            None => {}
        }
        entry.due = Some(when);
        self.queue.insert((when, key.clone()));
    }

    /// Takes what is due first, if anything is whose group has a share left; it is busy until [`Self::done`] or
    /// [`Self::failed`].
    pub fn take_one(&mut self, now: Instant) -> Option<K> {
        let first = self.first_free().filter(|(due, _)| *due <= now)?.clone();
        self.queue.remove(&first);
        let (_, key) = first;
        let entry = self.entries.entry(key.clone()).or_default();
        (entry.due, entry.last, entry.busy) = (None, Some(now), true);
        self.shares.begin(&key);
        Some(key)
    }

    fn first_free(&self) -> Option<&(Instant, K)> {
        self.queue.iter().find(|(_, key)| self.shares.is_free(key))
    }

    /// Marks the end of a key's turn.
    fn ends(&mut self, key: &K) {
        if let Some(entry) = self.entries.get_mut(key)
            && std::mem::take(&mut entry.busy)
        {
            self.shares.end(key);
        }
    }

    /// Takes all that is due.
    pub fn take(&mut self, now: Instant) -> Vec<K> {
        std::iter::from_fn(|| self.take_one(now)).collect()
    }

    /// The turn of a key is over, and nothing failed.
    pub fn done(&mut self, now: Instant, key: &K) {
        self.ends(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.failures = 0;
        let (again, maybe) = (entry.again.take(), std::mem::take(&mut entry.maybe));
        if let Some(again) = again {
            self.mark_at(again, key);
        }
        if maybe {
            self.mark(now, key);
        }
        // Nothing of it is needed any more where turns follow each other without a pause.
        if self.pause.is_zero() && self.entries.get(key).is_some_and(|entry| entry.due.is_none()) {
            self.entries.remove(key);
        }
    }

    /// The turn of a key is over, and failed. Returns the wait before the next one, which is never longer than `longest`.
    pub fn failed(&mut self, now: Instant, key: &K, longest: Duration) -> Duration {
        self.ends(key);
        let entry = self.entries.entry(key.clone()).or_default();
        (entry.maybe, entry.failures) = (false, entry.failures.saturating_add(1));
        let wait = jittered(after(entry.failures, FIRST, longest)).min(longest);
        // A change that came meanwhile is due before: it is not put off.
        let again = entry.again.take().map_or(now + wait, |again| again.min(now + wait));
        self.mark_at(again, key);
        wait
    }

    /// The key is gone for good.
    pub fn forget(&mut self, key: &K) {
        self.ends(key);
        if let Some(Entry { due: Some(due), .. }) = self.entries.remove(key) {
            self.queue.remove(&(due, key.clone()));
        }
    }

    /// Returns the time at which something is due next whose group has a share left.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.first_free().map(|(due, _)| *due)
    }

    /// Whether nothing is worked on, nor waits to be.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.queue.is_empty() && self.entries.values().all(|entry| !entry.busy)
    }

    /// How many keys wait after a failure.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.entries.values().filter(|entry| entry.failures > 0).count()
    }
}

/// A schedule that workers wait at.
#[derive(Debug)]
pub struct Queue<K> {
    schedule: Mutex<Schedule<K>>,
    woken: Notify,
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Waits `settle` after a first change.
    #[must_use]
    pub fn new(settle: Duration) -> Self {
        Self { schedule: Mutex::new(Schedule::new(settle, Duration::ZERO)), woken: Notify::new() }
    }

    /// Lets at most `most` keys of one group be worked on at the same time, so that others find a worker. Keys without a group
    /// are not counted.
    #[must_use]
    pub fn with_shares(self, group: fn(&K) -> Option<String>, most: usize) -> Self {
        self.schedule().shares = Shares::of(group, most);
        self
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<K>> {
        // No code that panics runs while it is held.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a key worked on soon.
    pub fn add(&self, key: &K, cause: QueueCause) {
        self.schedule().add(Instant::now(), key, cause);
        self.woken.notify_one();
    }

    /// Has a key worked on after some time, unless it is before.
    pub fn add_after(&self, key: &K, wait: Duration) {
        self.schedule().mark_at(Instant::now() + wait, key);
        self.woken.notify_one();
    }

    /// Waits for the next key that is due. It is not given out again until [`Queue::done`].
    pub async fn next(&self) -> K {
        loop {
            let woken = self.woken.notified();
            let (key, next) = {
                let mut schedule = self.schedule();
                (schedule.take_one(Instant::now()), schedule.next())
            };
            match (key, next) {
                (Some(key), _) => return key,
                (None, Some(at)) => _ = tokio::time::timeout_at(at.into(), woken).await,
                (None, None) => woken.await,
            }
        }
    }

    /// Says that it went well.
    pub fn done(&self, key: &K) {
        self.schedule().done(Instant::now(), key);
        self.woken.notify_one();
    }

    /// Says that it failed. Returns the wait before the next try, which is never longer than `longest`.
    pub fn failed(&self, key: &K, longest: Option<Duration>) -> Duration {
        let wait = self.schedule().failed(Instant::now(), key, longest.unwrap_or(LONGEST));
        self.woken.notify_one();
        wait
    }

    /// Whether nothing is worked on, nor waits to be.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.schedule().idle()
    }

    /// How many keys wait after a failure.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.schedule().failing()
    }
}

#[cfg(test)]
mod tests;
