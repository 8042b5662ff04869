//! When to act on what changed: soon after the first change, then at most once in a while, and never forgetting the
//! last one. Pure: the caller brings the clock.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Keys that changed, and when they are to be acted on.
#[derive(Debug)]
pub struct Coalesce<K> {
    /// How long to wait for more after the first change.
    settle: Duration,
    /// Least time between two acts on one key.
    pause: Duration,
    entries: HashMap<K, Entry>,
    queue: BTreeSet<(Instant, K)>,
}

/// One key.
#[derive(Debug, Default)]
struct Entry {
    /// When it is to be acted on.
    due: Option<Instant>,
    /// When it was last.
    last: Option<Instant>,
    /// It is being acted on.
    busy: bool,
    /// It changed meanwhile; act again at this time.
    again: Option<Instant>,
}

impl<K: Clone + Eq + Hash + Ord> Coalesce<K> {
    /// Waits `settle` after a first change and `pause` between acts.
    #[must_use]
    pub fn new(settle: Duration, pause: Duration) -> Self {
        Self { settle, pause, entries: HashMap::new(), queue: BTreeSet::new() }
    }

    /// A key changed.
    pub fn mark(&mut self, now: Instant, key: &K) {
        self.mark_at(now + self.settle, key);
    }

    /// A key is to be looked at at a certain time, or before.
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

    /// Takes what is due; each key is busy until [`Self::done`].
    pub fn take(&mut self, now: Instant) -> Vec<K> {
        let mut taken = Vec::new();
        while let Some((due, key)) = self.queue.first().cloned()
            && due <= now
        {
            self.queue.pop_first();
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.due = None;
                entry.last = Some(now);
                entry.busy = true;
            }
            taken.push(key);
        }
        taken
    }

    /// The act on a key is over.
    pub fn done(&mut self, key: &K) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.busy = false;
        if let Some(again) = entry.again.take() {
            self.mark_at(again, key);
        }
    }

    /// The key is gone for good.
    pub fn forget(&mut self, key: &K) {
        if let Some(Entry { due: Some(due), .. }) = self.entries.remove(key) {
            self.queue.remove(&(due, key.clone()));
        }
    }

    /// When something is due next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(50);
    const PAUSE: Duration = Duration::from_secs(1);

    fn new() -> (Coalesce<&'static str>, Instant) {
        (Coalesce::new(SETTLE, PAUSE), Instant::now())
    }

    #[test]
    fn a_burst_costs_one_act_a_pause_and_its_end_is_acted_on() {
        let (mut queue, start) = new();
        let mut acts = Vec::new();
        // 2,500 changes over 2.5 seconds.
        for millisecond in 0..=5_000u64 {
            let now = start + Duration::from_millis(millisecond);
            if millisecond < 2_500 {
                queue.mark(now, &"a");
            }
            for key in queue.take(now) {
                acts.push(millisecond);
                queue.done(&key);
            }
        }
        assert_eq!(acts, [50, 1_050, 2_050, 3_050]);
    }

    #[test]
    fn a_change_while_busy_is_not_forgotten() {
        let (mut queue, start) = new();
        queue.mark(start, &"a");
        assert_eq!(queue.take(start + SETTLE), ["a"]);
        queue.mark(start + SETTLE, &"a");
        assert_eq!(queue.take(start + PAUSE * 10), Vec::<&str>::new());
        queue.done(&"a");
        assert_eq!(queue.next(), Some(start + SETTLE + PAUSE));
    }

    #[test]
    fn keys_do_not_wait_for_each_other() {
        let (mut queue, start) = new();
        queue.mark(start, &"a");
        assert_eq!(queue.take(start + SETTLE), ["a"]);
        queue.mark(start + SETTLE, &"b");
        assert_eq!(queue.take(start + SETTLE * 2), ["b"]);
    }

    #[test]
    fn a_timer_is_brought_forward_by_a_change_and_never_put_off() {
        let (mut queue, start) = new();
        queue.mark_at(start + PAUSE * 60, &"a");
        queue.mark(start, &"a");
        queue.mark_at(start + PAUSE * 30, &"a");
        assert_eq!(queue.next(), Some(start + SETTLE));
    }

    #[test]
    fn what_is_gone_is_not_due_any_more() {
        let (mut queue, start) = new();
        queue.mark(start, &"a");
        queue.forget(&"a");
        assert_eq!(queue.next(), None);
        queue.done(&"a");
        assert_eq!(queue.take(start + PAUSE), Vec::<&str>::new());
    }
}
