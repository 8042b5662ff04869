//! How often a state object may be written, so that two who contradict each other do not write without end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many writes of one state object may come at once.
const BURST: f64 = 20.0;

/// Seconds after which one more may come.
const REFILL_SECONDS: f64 = 10.0;

/// How long somebody is suspected to write the same object all the time.
pub const SUSPECTED: Duration = Duration::from_secs(60);

/// State objects that are remembered.
const MOST: usize = 4096;

/// Writes by uid of the state object.
#[derive(Debug, Default)]
pub struct Pace(Mutex<HashMap<String, Writes>>);

#[derive(Debug)]
struct Writes {
    left: f64,
    refilled: Instant,
    /// When one was last put off.
    put_off: Option<Instant>,
    /// When somebody else's word was last heard.
    other: Option<Instant>,
}

impl Pace {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Writes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more write of this object may be made now; if not, after which time.
    pub fn take(&self, uid: &str, now: Instant) -> Result<(), Duration> {
        let mut all = self.lock();
        let writes = of(&mut all, uid, now);
        let refilled = now.saturating_duration_since(writes.refilled).as_secs_f64() / REFILL_SECONDS;
        writes.left = (writes.left + refilled).min(BURST);
        writes.refilled = now;
        if writes.left < 1.0 {
            writes.put_off = Some(now);
            return Err(Duration::from_secs_f64((1.0 - writes.left) * REFILL_SECONDS));
        }
        writes.left -= 1.0;
        Ok(())
    }

    /// Somebody else wrote this object.
    pub fn hear_other(&self, uid: &str, now: Instant) {
        of(&mut self.lock(), uid, now).other = Some(now);
    }

    /// Whether another machine seems to have this node's name: writes were put off, and somebody else wrote too.
    pub fn suspects(&self, uid: &str, now: Instant) -> bool {
        let is_recent =
            |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < SUSPECTED);
        self.lock().get(uid).is_some_and(|writes| is_recent(writes.put_off) && is_recent(writes.other))
    }
}

fn of<'a>(all: &'a mut HashMap<String, Writes>, uid: &str, now: Instant) -> &'a mut Writes {
    if all.len() > MOST {
        all.clear();
    }
    let fresh = || Writes { left: BURST, refilled: now, put_off: None, other: None };
    all.entry(uid.to_owned()).or_insert_with(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_writes_of_one_object_are_spread_and_others_are_free() {
        let (pace, now) = (Pace::default(), Instant::now());
        let free = (0..100).take_while(|_| pace.take("a", now).is_ok()).count();
        assert_eq!(free, 20);
        let wait = pace.take("a", now).unwrap_err();
        assert!(wait <= Duration::from_secs(10), "{wait:?}");
        assert_eq!(pace.take("b", now), Ok(()));
        assert_eq!(pace.take("a", now + wait), Ok(()));
        assert!(pace.take("a", now + wait).is_err());
    }

    #[test]
    fn who_writes_much_alone_is_no_twin() {
        let (pace, now) = (Pace::default(), Instant::now());
        while pace.take("a", now).is_ok() {}
        assert!(!pace.suspects("a", now));
        pace.hear_other("a", now);
        assert!(pace.suspects("a", now) && !pace.suspects("b", now));
        assert!(!pace.suspects("a", now + SUSPECTED), "it is over");
        pace.hear_other("b", now);
        assert!(!pace.suspects("b", now), "one word of somebody else is none either");
    }
}
