//! Work queue: one worker per key at a time, at a minimum interval or with backoff; the last change is never lost.

mod shares;

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::backoff::{after, jittered};

use shares::Shares;

const FIRST: Duration = Duration::from_secs(1);

const MAX_DELAY: Duration = Duration::from_secs(300);

/// Sleeps until a time, or forever without one.
pub async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Reason why a key is to be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueCause {
    /// A dependency changed: process the key at once, also after failures.
    Changed,
    /// A dependency may have changed. A key that waits after a failure keeps waiting, so as not to trigger itself.
    Maybe,
}

/// Schedule of keys. Pure: the caller passes the time.
#[derive(Debug)]
pub struct Schedule<K> {
    settle: Duration,
    pause: Duration,
    entries: HashMap<K, Entry>,
    queue: BTreeSet<(Instant, K)>,
    shares: Shares<K>,
}

#[derive(Debug, Default)]
struct Entry {
    due: Option<Instant>,
    last: Option<Instant>,
    busy: bool,
    again: Option<Instant>,
    maybe: bool,
    failures: u32,
}

impl<K: Clone + Eq + Hash + Ord> Schedule<K> {
    /// Returns an empty schedule that waits `settle` after a first change, and `pause` between runs of a key.
    #[must_use]
    pub fn new(settle: Duration, pause: Duration) -> Self {
        Self { settle, pause, entries: HashMap::new(), queue: BTreeSet::new(), shares: Shares::default() }
    }

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

    /// Schedules a changed key.
    pub fn mark(&mut self, now: Instant, key: &K) {
        self.mark_at(now + self.settle, key);
    }

    /// Schedules a key for a time, or for the end of its pause if that is later. An earlier due time stays.
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

    /// Takes the first due key of a group below its limit. It is busy until [`Self::done`] or
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

    fn ends(&mut self, key: &K) {
        if let Some(entry) = self.entries.get_mut(key)
            && std::mem::take(&mut entry.busy)
        {
            self.shares.end(key);
        }
    }

    /// Takes all due keys.
    pub fn take(&mut self, now: Instant) -> Vec<K> {
        std::iter::from_fn(|| self.take_one(now)).collect()
    }

    /// Ends the run of a key successfully.
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
        // Without a pause between runs, the entry holds no state that is still needed.
        if self.pause.is_zero() && self.entries.get(key).is_some_and(|entry| entry.due.is_none()) {
            self.entries.remove(key);
        }
    }

    /// Ends the run of a key with a failure. Returns the delay until the next one, at most `longest`.
    pub fn failed(&mut self, now: Instant, key: &K, longest: Duration) -> Duration {
        self.ends(key);
        let entry = self.entries.entry(key.clone()).or_default();
        (entry.maybe, entry.failures) = (false, entry.failures.saturating_add(1));
        let wait = jittered(after(entry.failures, FIRST, longest)).min(longest);
        let again = entry.again.take().map_or(now + wait, |again| again.min(now + wait));
        self.mark_at(again, key);
        wait
    }

    /// Removes a key for good.
    pub fn forget(&mut self, key: &K) {
        self.ends(key);
        if let Some(Entry { due: Some(due), .. }) = self.entries.remove(key) {
            self.queue.remove(&(due, key.clone()));
        }
    }

    /// Returns the earliest due time of the keys whose groups are below their limits.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.first_free().map(|(due, _)| *due)
    }

    /// Returns whether no key is scheduled or being processed.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.queue.is_empty() && self.entries.values().all(|entry| !entry.busy)
    }

    /// Returns the number of keys that wait after a failure.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.entries.values().filter(|entry| entry.failures > 0).count()
    }
}

/// Schedule on which workers wait.
#[derive(Debug)]
pub struct Queue<K> {
    schedule: Mutex<Schedule<K>>,
    woken: Notify,
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Returns a queue that waits `settle` after a first change.
    #[must_use]
    pub fn new(settle: Duration) -> Self {
        Self { schedule: Mutex::new(Schedule::new(settle, Duration::ZERO)), woken: Notify::new() }
    }

    /// Limits the keys of a group that are processed at the same time; keys without a group are not limited.
    #[must_use]
    pub fn with_shares(self, group: fn(&K) -> Option<String>, most: usize) -> Self {
        self.schedule().shares = Shares::of(group, most);
        self
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule<K>> {
        // No code that panics runs while the lock is held.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, key: &K, cause: QueueCause) {
        self.schedule().add(Instant::now(), key, cause);
        self.woken.notify_one();
    }

    /// Schedules a key after a delay. An earlier due time stays.
    pub fn add_after(&self, key: &K, wait: Duration) {
        self.schedule().mark_at(Instant::now() + wait, key);
        self.woken.notify_one();
    }

    /// Waits for the next due key. It is not returned again until [`Queue::done`].
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

    /// Ends the run of a key successfully.
    pub fn done(&self, key: &K) {
        self.schedule().done(Instant::now(), key);
        self.woken.notify_one();
    }

    /// Ends the run of a key with a failure. Returns the delay until the next one, at most `longest`.
    pub fn failed(&self, key: &K, longest: Option<Duration>) -> Duration {
        let wait = self.schedule().failed(Instant::now(), key, longest.unwrap_or(MAX_DELAY));
        self.woken.notify_one();
        wait
    }

    /// Returns whether no key is scheduled or being processed.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.schedule().idle()
    }

    /// Returns the number of keys that wait after a failure.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.schedule().failing()
    }
}

#[cfg(test)]
mod tests;
