//! When the registry was asked for an application, and when it may be asked again.
//!
//! Thousands of agents have one registry. Each asks it once for a version of an application. What failed is tried again
//! later and later, whatever happens on the node meanwhile.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpfman_application::state::node::Failure;

use bpfman_runtime::backoff::after;

/// The first wait after a failure. The waits are shorter than those of the queue, which have the jitter: the try that
/// it makes by itself is one that asks.
const FIRST: Duration = Duration::from_millis(700);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(210);

/// The most applications that are remembered.
const KEPT: usize = 4096;

/// For which version of which application it was asked, by uid of the state object.
#[derive(Debug, Default)]
pub struct Asked(Mutex<HashMap<String, Last>>);

#[derive(Debug)]
struct Last {
    version: String,
    /// Absent: it went well.
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    times: u32,
    why: Failure,
    /// Not before.
    again: Instant,
}

/// Whether it may be asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It was not asked for this version, or it is time for the next try.
    Ask,
    /// It answered for this version.
    Answered,
    /// A try failed with this, and the next one has to wait.
    Wait(Failure),
}

impl Asked {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Last>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be asked now.
    #[must_use]
    pub fn turn(&self, uid: &str, version: &str, now: Instant) -> Turn {
        match self.lock().get(uid).filter(|last| last.version == version).map(|last| &last.failed) {
            None => Turn::Ask,
            Some(None) => Turn::Answered,
            Some(Some(failed)) if failed.again > now => Turn::Wait(failed.why.clone()),
            Some(Some(_)) => Turn::Ask,
        }
    }

    /// Notes that it answered.
    pub fn answered(&self, uid: &str, version: &str) {
        self.note(uid, Last { version: version.to_owned(), failed: None });
    }

    /// Notes that a try failed.
    pub fn failed(&self, uid: &str, version: &str, why: Failure, now: Instant) {
        let before = self
            .lock()
            .get(uid)
            .filter(|last| last.version == version)
            .map_or(0, |last| last.failed.as_ref().map_or(0, |failed| failed.times));
        let times = before.saturating_add(1);
        let failed = Failed { times, why, again: now + after(times, FIRST, LONGEST) };
        self.note(uid, Last { version: version.to_owned(), failed: Some(failed) });
    }

    fn note(&self, uid: &str, last: Last) {
        let mut all = self.lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(uid.to_owned(), last);
    }

    /// How long the next try of an application has to wait; `None` if nothing failed.
    #[must_use]
    pub fn wait(&self, uid: &str, now: Instant) -> Option<Duration> {
        let all = self.lock();
        let failed = all.get(uid)?.failed.as_ref()?;
        Some(failed.again.saturating_duration_since(now))
    }

    /// Forgets what failed: another daemon may be allowed more.
    pub fn forgive(&self) {
        self.lock().retain(|_, last| last.failed.is_none());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(message: &str) -> Failure {
        Failure { reason: "registry".to_owned(), message: message.to_owned(), ..Failure::default() }
    }

    #[test]
    fn a_version_is_asked_for_once() {
        let (asked, now) = (Asked::default(), Instant::now());
        assert_eq!(asked.turn("a", "1", now), Turn::Ask);
        asked.answered("a", "1");
        let years_later = now + Duration::from_secs(100_000_000);
        assert_eq!(asked.turn("a", "1", years_later), Turn::Answered);
        assert_eq!(asked.turn("a", "2", now), Turn::Ask, "another version");
        assert_eq!(asked.turn("b", "1", now), Turn::Ask, "another application");
        assert_eq!(asked.wait("a", now), None);
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later_however_often_one_looks() {
        let (asked, start) = (Asked::default(), Instant::now());
        let mut tries = 0;
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            if asked.turn("a", "1", now) == Turn::Ask {
                tries += 1;
                asked.failed("a", "1", why("no answer"), now);
            }
            assert_eq!(asked.turn("a", "1", now), Turn::Wait(why("no answer")));
        }
        // 0, 1, 3, 6, 12, ... and then every 210 seconds.
        assert!((20..30).contains(&tries), "{tries}");
        assert_eq!(asked.turn("a", "2", start), Turn::Ask, "another version does not wait");
        asked.forgive();
        assert_eq!(asked.turn("a", "1", start), Turn::Ask);
    }

    #[test]
    fn the_queue_comes_back_when_it_may_be_asked() {
        for failures in 1..20 {
            let earliest = after(failures, Duration::from_secs(1), Duration::from_secs(300)).mul_f64(0.8);
            assert!(after(failures, FIRST, LONGEST) <= earliest, "{failures}");
        }
    }
}
