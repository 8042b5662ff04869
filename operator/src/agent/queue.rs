//! Which applications to look at, and when: each at most once at a time, failures later and later.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::key::ApplicationKey;
use crate::backoff::{after, jittered};

/// The first wait after a failure.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(300);

/// Events that come together are one look.
const GATHER: Duration = Duration::from_millis(20);

/// Why an application is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Something that it depends on is another: it is looked at at once, also after failures.
    Changed,
    /// Something may be another, perhaps by our own doing. An application that waits after a failure goes on waiting:
    /// a try that fails must not be the cause of the next one.
    Maybe,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    plan: Mutex<Plan>,
    woken: Notify,
}

impl Queue {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        // No code that panics runs while it is held.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an application looked at soon.
    pub fn add(&self, key: &ApplicationKey, cause: Cause) {
        self.plan().add(key, cause, Instant::now());
        self.woken.notify_one();
    }

    /// Has an application looked at after some time, unless it is before.
    pub fn add_after(&self, key: &ApplicationKey, wait: Duration) {
        self.plan().add_at(key, Instant::now() + wait);
        self.woken.notify_one();
    }

    /// Waits for the next application that is due. It is not given out again until [`Queue::done`].
    pub async fn next(&self) -> ApplicationKey {
        loop {
            let woken = self.woken.notified();
            let next = self.plan().take(Instant::now());
            match next {
                Next::Key(key) => return key,
                Next::At(Some(at)) => {
                    let _either = tokio::time::timeout_at(at.into(), woken).await;
                }
                Next::At(None) => woken.await,
            }
        }
    }

    /// Says that it went well.
    pub fn done(&self, key: &ApplicationKey) {
        self.plan().done(key, Instant::now());
        self.woken.notify_one();
    }

    /// Says that it failed. Returns the wait before the next try, which is never longer than `longest`.
    pub fn failed(&self, key: &ApplicationKey, longest: Option<Duration>) -> Duration {
        let wait = self.plan().failed(key, longest.unwrap_or(LONGEST), Instant::now());
        self.woken.notify_one();
        wait
    }

    /// Whether nothing is looked at, nor waits to be.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.plan().idle()
    }

    /// How many wait after a failure.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.plan().failures.len()
    }
}

/// What is due when.
#[derive(Debug, Default)]
struct Plan {
    due: HashMap<ApplicationKey, Instant>,
    failures: HashMap<ApplicationKey, u32>,
    running: HashSet<ApplicationKey>,
    /// Of those that run, which [`Cause::Maybe`] came for meanwhile.
    maybe: HashSet<ApplicationKey>,
}

/// What there is to do.
#[derive(Debug, PartialEq)]
enum Next {
    /// This.
    Key(ApplicationKey),
    /// Nothing before; `None`: nothing at all.
    At(Option<Instant>),
}

impl Plan {
    fn add(&mut self, key: &ApplicationKey, cause: Cause, now: Instant) {
        if cause == Cause::Maybe {
            if self.running.contains(key) {
                self.maybe.insert(key.clone());
                return;
            }
            if self.failures.contains_key(key) && self.due.contains_key(key) {
                return;
            }
        }
        self.add_at(key, now + GATHER);
    }

    fn add_at(&mut self, key: &ApplicationKey, at: Instant) {
        let due = self.due.entry(key.clone()).or_insert(at);
        *due = at.min(*due);
    }

    fn done(&mut self, key: &ApplicationKey, now: Instant) {
        self.running.remove(key);
        self.failures.remove(key);
        if self.maybe.remove(key) {
            self.add_at(key, now + GATHER);
        }
    }

    fn failed(&mut self, key: &ApplicationKey, longest: Duration, now: Instant) -> Duration {
        self.running.remove(key);
        self.maybe.remove(key);
        let failures = self.failures.entry(key.clone()).or_insert(0);
        *failures = failures.saturating_add(1);
        let wait = jittered(after(*failures, FIRST, longest)).min(longest);
        // A change that came meanwhile is due before: it is not put off.
        self.add_at(key, now + wait);
        wait
    }

    fn idle(&self) -> bool {
        self.due.is_empty() && self.running.is_empty()
    }

    fn take(&mut self, now: Instant) -> Next {
        let idle = self.due.iter().filter(|(key, _)| !self.running.contains(*key));
        let Some((key, at)) = idle.min_by_key(|(_, at)| **at).map(|(key, at)| (key.clone(), *at)) else {
            return Next::At(None);
        };
        if at > now {
            return Next::At(Some(at));
        }
        self.due.remove(&key);
        self.running.insert(key.clone());
        Next::Key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::key::Scope;

    fn key(name: &str) -> ApplicationKey {
        ApplicationKey { scope: Scope::Cluster, namespace: None, name: name.to_owned() }
    }

    /// A plan and a clock that a test moves.
    struct Test {
        plan: Plan,
        now: Instant,
    }

    impl Test {
        fn new() -> Self {
            Self { plan: Plan::default(), now: Instant::now() }
        }

        fn add(&mut self, name: &str, cause: Cause) {
            self.plan.add(&key(name), cause, self.now);
        }

        fn done(&mut self, name: &str) {
            self.plan.done(&key(name), self.now);
        }

        fn failed(&mut self, name: &str) -> f64 {
            self.plan.failed(&key(name), LONGEST, self.now).as_secs_f64()
        }

        /// What is due within a time; the clock then stands where it became due, or at the end of that time.
        fn within(&mut self, seconds: u64) -> Option<String> {
            let end = self.now + Duration::from_secs(seconds);
            loop {
                match self.plan.take(self.now) {
                    Next::Key(key) => return Some(key.name),
                    Next::At(Some(at)) if at <= end => self.now = at,
                    Next::At(_) => {
                        self.now = end;
                        return None;
                    }
                }
            }
        }
    }

    fn name(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn events_that_come_together_are_one_look() {
        let mut test = Test::new();
        test.add("a", Cause::Changed);
        test.add("a", Cause::Maybe);
        assert_eq!(test.within(1), name("a"));
        test.done("a");
        assert_eq!(test.within(1000), None);
    }

    #[test]
    fn who_waits_or_is_looked_at_is_not_idle() {
        let mut test = Test::new();
        assert!(test.plan.idle());
        test.add("a", Cause::Changed);
        assert!(!test.plan.idle());
        assert_eq!(test.within(1), name("a"));
        assert!(!test.plan.idle());
        test.done("a");
        assert!(test.plan.idle());
    }

    #[test]
    fn nothing_is_looked_at_twice_at_a_time() {
        let mut test = Test::new();
        test.add("a", Cause::Changed);
        assert_eq!(test.within(1), name("a"));
        test.add("a", Cause::Changed);
        assert_eq!(test.within(1000), None);
        test.done("a");
        assert_eq!(test.within(1), name("a"));
    }

    #[test]
    fn failures_come_back_later_and_later() {
        let mut test = Test::new();
        test.add("a", Cause::Changed);
        for failure in 0..12_i32 {
            assert_eq!(test.within(400), name("a"));
            let wait = test.failed("a");
            let wanted = 2_f64.powi(failure).min(300.0);
            assert!((wanted * 0.79..wanted * 1.21).contains(&wait), "{failure}: {wait}");
        }
        assert_eq!(test.within(400), name("a"));
        test.done("a");
        assert_eq!(test.within(1000), None);
    }

    #[test]
    fn a_failure_is_not_the_cause_of_the_next_try_but_a_change_is() {
        let mut test = Test::new();
        test.add("a", Cause::Changed);
        for _ in 0..8 {
            assert_eq!(test.within(400), name("a"));
            test.failed("a");
        }
        test.add("a", Cause::Maybe);
        assert_eq!(test.within(60), None);
        test.add("a", Cause::Changed);
        assert_eq!(test.within(1), name("a"));
    }

    #[test]
    fn what_a_try_stirs_up_is_not_the_cause_of_the_next_if_it_fails() {
        let mut test = Test::new();
        test.add("a", Cause::Changed);
        for _ in 0..4 {
            assert_eq!(test.within(400), name("a"));
            test.add("a", Cause::Maybe);
            test.failed("a");
        }
        assert_eq!(test.within(6), None);
        // A change that comes meanwhile is, and so is all else if it went well.
        assert_eq!(test.within(4), name("a"));
        test.add("a", Cause::Changed);
        test.failed("a");
        assert_eq!(test.within(1), name("a"));
        test.add("a", Cause::Maybe);
        test.done("a");
        assert_eq!(test.within(1), name("a"));
        test.done("a");
        assert_eq!(test.within(1000), None);
    }

    #[test]
    fn the_others_go_on_while_one_is_busy() {
        let mut test = Test::new();
        test.add("a", Cause::Changed);
        assert_eq!(test.within(1), name("a"));
        test.add("b", Cause::Maybe);
        assert_eq!(test.within(1), name("b"));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let queue = Queue::default();
        let (next, ()) = tokio::join!(queue.next(), async {
            tokio::task::yield_now().await;
            queue.add(&key("a"), Cause::Changed);
        });
        assert_eq!(next, key("a"));
        let longest = Duration::from_millis(3);
        assert!(queue.failed(&next, Some(longest)) <= longest);
        assert_eq!(queue.failing(), 1);
        queue.done(&next);
        assert_eq!(queue.failing(), 0);
    }
}
