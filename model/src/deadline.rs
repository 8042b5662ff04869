//! Deadlines that do not depend on changes of the machine's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Current time, by both clocks of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineTime {
    /// Id of the boot.
    pub boot: String,
    /// Time since that boot, including suspend. This clock is never set.
    pub since_boot: Duration,
    /// Wall-clock time.
    pub wall: SystemTime,
}

/// Moment when something expires: by the clock since boot, which is never set; after a reboot, by the wall clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// Boot that `since_boot` refers to.
    boot: String,
    /// Seconds after that boot.
    since_boot: u64,
    /// Seconds since 1970, UTC.
    wall: u64,
    /// Seconds between the creation and the expiry.
    ttl: u64,
}

/// Time to live outside of the accepted range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time to live of {0} s is not possible: expected 1 s to 10 years (315,360,000 s)")]
pub struct BadTtl(pub u64);

impl Deadline {
    /// Maximum time to live, in seconds: ten years.
    const MAX_SECONDS: u64 = 3650 * 24 * 3600;
    /// Difference between the clocks, in seconds, above which the wall clock counts as set.
    const PUT: u64 = 5;

    /// Creates a deadline this number of seconds from now. Errors: the time is 0, or more than ten years.
    pub fn after(seconds: u64, now: &MachineTime) -> Result<Self, BadTtl> {
        if seconds == 0 || seconds > Self::MAX_SECONDS {
            return Err(BadTtl(seconds));
        }
        Ok(Self {
            boot: now.boot.clone(),
            // Round up: the deadline may be a fraction of a second late, never early.
            since_boot: now.since_boot.as_secs() + 1 + seconds,
            wall: unix(now.wall) + seconds,
            ttl: seconds,
        })
    }

    /// Returns the remaining time; zero after the deadline.
    #[must_use]
    pub fn left(&self, now: &MachineTime) -> Duration {
        let deadline = if self.boot == now.boot { self.clone() } else { self.in_boot_of(now) };
        Duration::from_secs(deadline.since_boot).saturating_sub(now.since_boot)
    }

    /// Returns the same deadline by the current clocks, if its record has to be updated. After a reboot, that
    /// is once the wall clock is plausible; the deadline then depends only on the time since boot. Within a
    /// boot, it is when the wall clock was set: the next boot converts the deadline by that clock.
    #[must_use]
    pub fn anchored(&self, now: &MachineTime) -> Option<Self> {
        if self.boot == now.boot {
            let left = self.left(now).as_secs();
            if left == 0 {
                return None; // Expired; the expiry may still be retried.
            }
            let wall = unix(now.wall) + left;
            return (wall.abs_diff(self.wall) > Self::PUT).then(|| Self { wall, ..self.clone() });
        }
        let set = self.wall.saturating_sub(self.ttl);
        (unix(now.wall) >= set).then(|| self.in_boot_of(now))
    }

    /// Converts the deadline by the wall clock. If that clock is before the creation of the deadline, it is not right
    /// yet: the time to live then counts from this boot.
    fn in_boot_of(&self, now: &MachineTime) -> Self {
        let set = self.wall.saturating_sub(self.ttl);
        let wall = unix(now.wall);
        let since_boot = if wall < set {
            self.ttl
        } else {
            now.since_boot.as_secs() + self.wall.saturating_sub(wall).min(self.ttl)
        };
        Self { boot: now.boot.clone(), since_boot, ..self.clone() }
    }
}

fn unix(wall: SystemTime) -> u64 {
    wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: &str, since_boot: u64, wall: u64) -> MachineTime {
        MachineTime {
            boot: boot.to_owned(),
            since_boot: Duration::from_secs(since_boot),
            wall: UNIX_EPOCH + Duration::from_secs(wall),
        }
    }

    fn seconds(deadline: &Deadline, now: &MachineTime) -> u64 {
        deadline.left(now).as_secs()
    }

    #[test]
    fn in_one_boot_the_time_of_day_does_not_count() {
        let deadline = Deadline::after(600, &at("a", 100, 1_000_000)).unwrap();
        for wall in [0, 1_000_000, 9_999_999_999] {
            assert_eq!(seconds(&deadline, &at("a", 100, wall)), 601);
            assert_eq!(seconds(&deadline, &at("a", 600, wall)), 101);
            assert_eq!(seconds(&deadline, &at("a", 701, wall)), 0);
            assert_eq!(seconds(&deadline, &at("a", 9_999, wall)), 0);
        }
    }

    #[test]
    fn a_clock_that_was_put_is_right_after_the_next_reboot() {
        // The deadline is set in 1970; then the clock is corrected.
        let deadline = Deadline::after(600, &at("a", 100, 50)).unwrap();
        assert_eq!(deadline.anchored(&at("a", 200, 150)), None);
        let right = deadline.anchored(&at("a", 200, 1_000_000)).unwrap();
        assert_eq!(seconds(&right, &at("a", 200, 1_000_000)), 501);
        assert_eq!(seconds(&right, &at("b", 5, 1_000_101)), 400);
        assert_eq!(
            right.anchored(&at("a", 9_999, 2_000_000)),
            None,
            "one that is over is not written each time"
        );
    }

    #[test]
    fn after_a_reboot_the_time_of_day_counts_once() {
        let deadline = Deadline::after(600, &at("a", 100, 1_000_000)).unwrap();
        assert_eq!(seconds(&deadline, &at("b", 5, 1_000_400)), 200);
        assert_eq!(seconds(&deadline, &at("b", 5, 1_000_600)), 0);
        let anchored = deadline.anchored(&at("b", 5, 1_000_400)).unwrap();
        for wall in [0, 1_000_400, 9_999_999_999] {
            assert_eq!(seconds(&anchored, &at("b", 105, wall)), 100, "it was put after that");
        }
        // The same holds after the next reboot.
        assert_eq!(seconds(&anchored, &at("c", 5, 1_000_550)), 50);
    }

    #[test]
    fn slow_clock_keeps_nothing_longer_than_its_lifetime() {
        let deadline = Deadline::after(600, &at("a", 100, 1_000_000)).unwrap();
        let without_battery = at("b", 10, 12);
        assert_eq!(deadline.anchored(&without_battery), None, "it is put right later");
        assert_eq!(seconds(&deadline, &without_battery), 590);
        assert_eq!(seconds(&deadline, &at("b", 600, 602)), 0);
        // The clock was corrected in the meantime.
        assert_eq!(seconds(&deadline, &at("b", 20, 1_000_500)), 100);
    }

    #[test]
    fn zero_and_excessive_ttl_are_refused() {
        let now = at("a", 1, 1);
        assert_eq!(Deadline::after(0, &now), Err(BadTtl(0)));
        assert!(Deadline::after(Deadline::MAX_SECONDS, &now).is_ok());
        assert!(Deadline::after(Deadline::MAX_SECONDS + 1, &now).is_err());
        assert!(Deadline::after(u64::MAX, &now).is_err());
    }
}
