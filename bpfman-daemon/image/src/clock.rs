//! How long ago something was, by a clock that may be put to any time.

use std::time::{Duration, Instant, SystemTime};

/// The clock of this machine, which is believed only as far as time went by since this process began.
///
/// A clock that jumps ahead makes nothing old: what was used yesterday would be gone from the cache by the time it is put
/// right. A start with a wrong clock is believed: nothing says that it is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AgeClock {
    wall: SystemTime,
    begun: Instant,
}

impl Default for AgeClock {
    fn default() -> Self {
        Self { wall: SystemTime::now(), begun: Instant::now() }
    }
}

impl AgeClock {
    /// How long ago a moment was; none if it is yet to come.
    pub(crate) fn age(&self, moment: SystemTime) -> Option<Duration> {
        self.age_at(moment, SystemTime::now(), Instant::now())
    }

    fn age_at(&self, moment: SystemTime, wall: SystemTime, now: Instant) -> Option<Duration> {
        let passed = self.wall.checked_add(now.saturating_duration_since(self.begun))?;
        let later_than_now = wall.duration_since(moment).is_err();
        (!later_than_now).then(|| wall.min(passed).duration_since(moment).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_put_makes_nothing_old() {
        let (at, begun) =
            (|day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400), Instant::now());
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let clock = AgeClock { wall: at(20_000), begun };
        let age = |moment, wall, passed| clock.age_at(at(moment), at(wall), begun + days(passed));
        assert_eq!(age(19_990, 20_000, 0), Some(days(10)));
        assert_eq!(age(19_990, 20_005, 5), Some(days(15)));
        // Ahead by eighty years, then as it was.
        assert_eq!(age(19_990, 49_000, 5), Some(days(15)));
        assert_eq!(age(19_990, 20_006, 6), Some(days(16)));
        // Back to 1970: what was used before is of a time to come.
        assert_eq!(age(19_990, 0, 5), None);
        // Begun in 1970, and put right: what was used meanwhile is young, by either clock.
        let early = AgeClock { wall: at(0), begun };
        assert_eq!(early.age_at(at(0), at(20_000), begun + days(1)), Some(days(1)));
        assert_eq!(early.age_at(at(20_000), at(20_000), begun + days(1)), Some(days(0)));
    }
}
