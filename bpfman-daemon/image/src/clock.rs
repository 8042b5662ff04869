use std::time::{Duration, Instant, SystemTime};

/// System clock, but no further ahead than the monotonic clock: after a jump, the cache would lose recent images.
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
        assert_eq!(age(19_990, 49_000, 5), Some(days(15)));
        assert_eq!(age(19_990, 20_006, 6), Some(days(16)));
        assert_eq!(age(19_990, 0, 5), None);
        // Started in 1970, then corrected: uses in between are recent by both clocks.
        let early = AgeClock { wall: at(0), begun };
        assert_eq!(early.age_at(at(0), at(20_000), begun + days(1)), Some(days(1)));
        assert_eq!(early.age_at(at(20_000), at(20_000), begun + days(1)), Some(days(0)));
    }
}
