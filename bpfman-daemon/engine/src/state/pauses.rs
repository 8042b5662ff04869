//! Pauses of owners whose programs were detached for their cost: an agent or a script would attach them again at once.
//! They are in memory: after a restart, the next excess begins with the first pause again.

use std::collections::HashMap;
use std::time::Duration;

use super::MapGroup;
use super::records::ProgramRecord;
use crate::PausedFor;

const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// Time without an excess after a pause, after which the next pause is as short as the first.
const FORGOTTEN_AFTER: Duration = LONGEST;

#[derive(Clone, Copy, Debug)]
struct Pause {
    length: Duration,
    ends: Duration,
}

/// Pauses by owner: a user, a grant, or all applications of a namespace. Times are since boot.
#[derive(Debug, Default)]
pub struct Pauses(HashMap<(MapGroup, PausedFor), Pause>);

impl Pauses {
    /// Begins a pause, each twice as long as the one before. The first excess of CPU time has no pause: it may be an accident
    /// that the owner repairs.
    pub fn begin(&mut self, owner: MapGroup, why: PausedFor, now: Duration) {
        self.0.retain(|_, pause| pause.ends + FORGOTTEN_AFTER > now);
        let first = if why == PausedFor::CpuTime { Duration::ZERO } else { FIRST };
        let length = self.0.get(&(owner.clone(), why)).map_or(first, |before| {
            if before.length.is_zero() { FIRST } else { (before.length * 2).min(LONGEST) }
        });
        self.0.insert((owner, why), Pause { length, ends: now + length });
    }

    pub fn left(&self, owner: &MapGroup, why: PausedFor, now: Duration) -> Option<Duration> {
        let pause = self.0.get(&(owner.clone(), why))?;
        pause.ends.checked_sub(now).filter(|left| !left.is_zero())
    }

    pub fn end(&mut self, owner: &MapGroup) {
        self.0.retain(|(of, _), _| of != owner);
    }
}

/// Returns the group that is charged for a program.
pub fn payer(program: &ProgramRecord) -> MapGroup {
    MapGroup::of(&program.owner(), &program.metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn each_pause_is_longer_until_an_hour_without_excess() {
        let owner = MapGroup::Namespace("evil".to_owned());
        let mut pauses = Pauses::default();
        let mut now = Duration::ZERO;
        for length in [1, 2, 4, 8, 16, 32, 60, 60] {
            pauses.begin(owner.clone(), PausedFor::Breakpoints, now);
            assert_eq!(pauses.left(&owner, PausedFor::Breakpoints, now), Some(minutes(length)));
            assert_eq!(pauses.left(&owner, PausedFor::CpuTime, now), None);
            now += minutes(length);
            assert_eq!(pauses.left(&owner, PausedFor::Breakpoints, now), None);
        }
        now += minutes(60);
        pauses.begin(owner.clone(), PausedFor::Breakpoints, now);
        assert_eq!(pauses.left(&owner, PausedFor::Breakpoints, now), Some(minutes(1)));
        assert_eq!(pauses.left(&MapGroup::User(1), PausedFor::Breakpoints, now), None);
    }

    #[test]
    fn first_excess_of_cpu_time_begins_no_pause() {
        let owner = MapGroup::Grant("team".to_owned());
        let mut pauses = Pauses::default();
        for length in [None, Some(minutes(1)), Some(minutes(2))] {
            pauses.begin(owner.clone(), PausedFor::CpuTime, Duration::ZERO);
            assert_eq!(pauses.left(&owner, PausedFor::CpuTime, Duration::ZERO), length);
        }
    }
}
