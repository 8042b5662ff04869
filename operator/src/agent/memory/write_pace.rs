//! Rate limit for writes of a state object, so that two writers which contradict each other do not write endlessly.

use std::time::{Duration, Instant};

const BURST: f64 = 20.0;

const REFILL_SECONDS: f64 = 10.0;

/// Time for which another writer of the same object is suspected.
pub const SUSPECTED: Duration = Duration::from_secs(60);

/// Token bucket for the writes of one state object.
#[derive(Debug, Default)]
pub struct WritePace(Option<Writes>);

#[derive(Debug)]
struct Writes {
    left: f64,
    refilled: Instant,
    put_off: Option<Instant>,
}

impl WritePace {
    /// Takes a token for a write, or returns the time to wait.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let writes = self.0.get_or_insert(Writes { left: BURST, refilled: now, put_off: None });
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

    /// Returns whether another machine seems to have this node's name: a delayed write, and another writer.
    #[must_use]
    pub fn suspects(&self, other: Option<Instant>, now: Instant) -> bool {
        let is_recent =
            |at: Option<Instant>| at.is_some_and(|at| now.saturating_duration_since(at) < SUSPECTED);
        is_recent(self.0.as_ref().and_then(|writes| writes.put_off)) && is_recent(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_writes_of_one_object_are_spread_and_others_are_free() {
        let (mut pace, mut other, now) = (WritePace::default(), WritePace::default(), Instant::now());
        let free = (0..100).take_while(|_| pace.take(now).is_ok()).count();
        assert_eq!(free, 20);
        let wait = pace.take(now).unwrap_err();
        assert!(wait <= Duration::from_secs(10), "{wait:?}");
        assert_eq!(other.take(now), Ok(()));
        assert_eq!(pace.take(now + wait), Ok(()));
        assert!(pace.take(now + wait).is_err());
    }

    #[test]
    fn frequent_writes_alone_reveal_no_second_agent() {
        let (mut pace, now) = (WritePace::default(), Instant::now());
        while pace.take(now).is_ok() {}
        assert!(!pace.suspects(None, now));
        assert!(pace.suspects(Some(now), now) && !WritePace::default().suspects(None, now));
        assert!(!pace.suspects(Some(now), now + SUSPECTED), "it is over");
        let one_word = WritePace::default().suspects(Some(now), now);
        assert!(!one_word, "one word of somebody else is none either");
    }
}
