//! Backoff for registry access: thousands of agents share one registry, with one access per version of an application.

use std::time::{Duration, Instant};

use bpfman_application::state::node::NodeFailure;

use bpfman_runtime::backoff::after;

/// First delay, shorter than the delays of the queue, so that the queue's retry always accesses the registry.
const FIRST: Duration = Duration::from_millis(700);

const MAX_DELAY: Duration = Duration::from_secs(210);

/// Last registry access, with the version of the application.
#[derive(Debug, Default)]
pub struct RegistryBackoff(Option<Last>);

#[derive(Debug)]
struct Last {
    version: String,
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    times: u32,
    why: NodeFailure,
    /// Incarnation of the daemon: a restarted one may have other permissions.
    daemon: u64,
    again: Instant,
}

/// Permission to access the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryAttempt {
    /// The registry was not accessed for this version, or the next attempt is due.
    Ask,
    /// The registry answered for this version.
    Answered,
    /// An attempt failed with this error, and the next one is not due.
    Wait(NodeFailure),
}

impl RegistryBackoff {
    fn of(&self, version: &str) -> Option<&Last> {
        self.0.as_ref().filter(|last| last.version == version)
    }

    /// Returns whether the registry may be accessed now, for this incarnation of the daemon.
    #[must_use]
    pub fn next_attempt(&self, version: &str, daemon: u64, now: Instant) -> RegistryAttempt {
        match self.of(version).map(|last| &last.failed) {
            Some(None) => RegistryAttempt::Answered,
            Some(Some(failed)) if failed.daemon == daemon && failed.again > now => {
                RegistryAttempt::Wait(failed.why.clone())
            }
            None | Some(Some(_)) => RegistryAttempt::Ask,
        }
    }

    /// Records a success.
    pub fn answered(&mut self, version: &str) {
        self.0 = Some(Last { version: version.to_owned(), failed: None });
    }

    /// Records a failed attempt.
    pub fn failed(&mut self, version: &str, daemon: u64, why: NodeFailure, now: Instant) {
        let before = self.of(version).and_then(|last| last.failed.as_ref());
        let before = before.filter(|failed| failed.daemon == daemon).map_or(0, |failed| failed.times);
        let times = before.saturating_add(1);
        let failed = Failed { times, why, daemon, again: now + after(times, FIRST, MAX_DELAY) };
        self.0 = Some(Last { version: version.to_owned(), failed: Some(failed) });
    }

    /// Returns the remaining delay; `None` if no attempt failed.
    #[must_use]
    pub fn wait(&self, daemon: u64, now: Instant) -> Option<Duration> {
        let failed = self.0.as_ref()?.failed.as_ref().filter(|failed| failed.daemon == daemon)?;
        Some(failed.again.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(message: &str) -> NodeFailure {
        NodeFailure { reason: "registry".to_owned(), message: message.to_owned(), ..NodeFailure::default() }
    }

    #[test]
    fn a_version_is_asked_for_once() {
        let (mut asked, now) = (RegistryBackoff::default(), Instant::now());
        assert_eq!(asked.next_attempt("1", 0, now), RegistryAttempt::Ask);
        asked.answered("1");
        let years_later = now + Duration::from_secs(100_000_000);
        assert_eq!(asked.next_attempt("1", 0, years_later), RegistryAttempt::Answered);
        assert_eq!(asked.next_attempt("2", 0, now), RegistryAttempt::Ask, "another version");
        assert_eq!(
            RegistryBackoff::default().next_attempt("1", 0, now),
            RegistryAttempt::Ask,
            "another application"
        );
        assert_eq!(asked.wait(0, now), None);
    }

    #[test]
    fn failed_pull_backs_off_however_often_it_is_requested() {
        let (mut asked, start) = (RegistryBackoff::default(), Instant::now());
        let mut tries = 0;
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            if asked.next_attempt("1", 0, now) == RegistryAttempt::Ask {
                tries += 1;
                asked.failed("1", 0, why("no answer"), now);
            }
            assert_eq!(asked.next_attempt("1", 0, now), RegistryAttempt::Wait(why("no answer")));
        }
        assert!((20..30).contains(&tries), "{tries}");
        assert_eq!(asked.next_attempt("2", 0, start), RegistryAttempt::Ask, "another version does not wait");
        assert_eq!(asked.next_attempt("1", 1, start), RegistryAttempt::Ask, "the daemon was started again");
        assert_eq!((asked.wait(0, start).is_some(), asked.wait(1, start)), (true, None));
    }

    #[test]
    fn the_queue_comes_back_when_it_may_be_asked() {
        for failures in 1..20 {
            let earliest = after(failures, Duration::from_secs(1), Duration::from_secs(300)).mul_f64(0.8);
            assert!(after(failures, FIRST, MAX_DELAY) <= earliest, "{failures}");
        }
    }
}
