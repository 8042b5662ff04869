//! Time of the verifier for programs that were not kept, by owner: a share of a CPU, averaged.

use std::collections::HashMap;
use std::time::Duration;

use super::MapGroup;

/// Debt from which on a refused load is not verified again for its log.
const CREDIT: Duration = Duration::from_secs(10);
/// Debt from which on no load of the owner is verified.
const MAX_DEBT: Duration = Duration::from_secs(20);
/// Debts decrease by a tenth of the elapsed time.
const SHARE: u32 = 10;

/// Debts of owners, in memory.
#[derive(Debug, Default)]
pub struct RefusedTime(HashMap<MapGroup, Debt>);

#[derive(Clone, Copy, Debug)]
struct Debt {
    time: Duration,
    at: Duration,
}

impl Debt {
    fn left(self, now: Duration) -> Duration {
        self.time.saturating_sub(now.saturating_sub(self.at) / SHARE)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCredit {
    Whole,
    /// For this time, refused loads are not verified again for their log.
    NoLog(Duration),
    /// For this time, no load of the owner is verified.
    Used(Duration),
}

impl RefusedTime {
    pub fn charge(&mut self, owner: &MapGroup, took: Duration, now: Duration) {
        self.0.retain(|_, debt| !debt.left(now).is_zero());
        let time = self.0.get(owner).map_or(Duration::ZERO, |debt| debt.left(now)) + took;
        self.0.insert(owner.clone(), Debt { time, at: now });
    }

    pub fn credit(&self, owner: &MapGroup, now: Duration) -> RefusalCredit {
        let debt = self.0.get(owner).map_or(Duration::ZERO, |debt| debt.left(now));
        let until = |credit: Duration| (debt - credit) * SHARE;
        if debt > MAX_DEBT {
            RefusalCredit::Used(until(MAX_DEBT))
        } else if debt > CREDIT {
            RefusalCredit::NoLog(until(CREDIT))
        } else {
            RefusalCredit::Whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_loads_of_an_owner_take_a_tenth_of_a_cpu() {
        let second = Duration::from_secs;
        let owner = MapGroup::Namespace("evil".to_owned());
        let mut refusals = RefusedTime::default();
        for took in [4, 6] {
            refusals.charge(&owner, second(took), second(100));
        }
        assert_eq!(refusals.credit(&owner, second(100)), RefusalCredit::Whole);
        refusals.charge(&owner, second(3), second(100));
        assert_eq!(refusals.credit(&owner, second(100)), RefusalCredit::NoLog(second(30)));
        assert_eq!(refusals.credit(&owner, second(130)), RefusalCredit::Whole);
        refusals.charge(&owner, second(20), second(130));
        assert_eq!(refusals.credit(&owner, second(130)), RefusalCredit::Used(second(100)));
        assert_eq!(refusals.credit(&MapGroup::User(7), second(130)), RefusalCredit::Whole);
        refusals.charge(&MapGroup::User(7), second(1), second(1000));
        assert_eq!(refusals.0.len(), 1, "what is paid is forgotten");
    }
}
