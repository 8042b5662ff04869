//! Decides which programs exceeded their limits.

use std::collections::BTreeMap;
use std::time::Duration;

use bpfman_model::{CpuExcess, CpuLimit, CpuShare, Owner, ProgramUid};

/// CPU use of one program in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuUse {
    /// Id of the program.
    pub program: ProgramUid,
    /// Owner of the program.
    pub owner: Owner,
    /// Limit of the program itself.
    pub limit: Option<CpuLimit>,
    /// CPU time, in nanoseconds.
    pub nanoseconds: u64,
    /// False if the program was unloaded: its use counts for its owner, but no action is taken.
    pub is_loaded: bool,
}

/// Returns programs above their own limit, and for each owner above its limit the program that used the most.
#[must_use]
pub fn excesses(
    uses: &[CpuUse],
    window: Duration,
    limit_of: impl Fn(&Owner) -> Option<CpuLimit>,
) -> Vec<(ProgramUid, CpuExcess)> {
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    let excess = |nanoseconds: u64, owner_used, limit: CpuLimit| CpuExcess {
        used: CpuShare::of(nanoseconds, window),
        owner_used,
        limit,
        window_ms,
        done: limit.action,
    };
    let mut found: BTreeMap<ProgramUid, CpuExcess> = BTreeMap::new();
    let mut owners: BTreeMap<&Owner, Vec<&CpuUse>> = BTreeMap::new();
    for one in uses {
        if let Some(limit) = one.limit
            && one.is_loaded
            && CpuShare::of(one.nanoseconds, window) > limit.share
        {
            found.insert(one.program, excess(one.nanoseconds, None, limit));
        }
        owners.entry(&one.owner).or_default().push(one);
    }
    for (owner, programs) in owners {
        let Some(limit) = limit_of(owner) else { continue };
        let all = programs.iter().fold(0_u64, |sum, one| sum.saturating_add(one.nanoseconds));
        let all = CpuShare::of(all, window);
        if all > limit.share
            && let Some(most) = programs.iter().filter(|one| one.is_loaded).max_by_key(|one| one.nanoseconds)
        {
            let of_owner = excess(most.nanoseconds, Some(all), limit);
            match found.get(&most.program) {
                Some(own) if own.limit.action as u8 >= limit.action as u8 => {}
                _ => {
                    found.insert(most.program, of_owner);
                }
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use bpfman_model::CpuAction::{Detach, Warn};

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn of(program: u64, owner: &str, nanoseconds: u64, limit: Option<CpuLimit>) -> CpuUse {
        CpuUse {
            program: ProgramUid(program),
            owner: Owner::Grant(owner.to_owned()),
            limit,
            nanoseconds,
            is_loaded: true,
        }
    }

    const fn percent(percent: u64, action: bpfman_model::CpuAction) -> CpuLimit {
        CpuLimit { share: CpuShare(percent * 10_000), action }
    }

    fn over(uses: &[CpuUse], owners: Option<CpuLimit>) -> Vec<(u64, CpuExcess)> {
        let limit_of = |owner: &Owner| owners.filter(|_| *owner == Owner::Grant("net".to_owned()));
        excesses(uses, WINDOW, limit_of).into_iter().map(|(uid, excess)| (uid.0, excess)).collect()
    }

    #[test]
    fn a_program_has_its_own_limit_and_its_owners_have_one_together() {
        let second = 1_000_000_000;
        // 10 % and 6 % of a CPU; neither is over 10 %.
        let uses = [of(1, "net", second, None), of(2, "net", second * 6 / 10, None)];
        assert_eq!(over(&uses, None), []);
        assert_eq!(over(&uses, Some(percent(16, Detach))), [], "as much as the limit is allowed");
        let [(1, found)] = &over(&uses, Some(percent(15, Detach)))[..] else { panic!() };
        assert_eq!((found.used, found.owner_used), (CpuShare(100_000), Some(CpuShare(160_000))));
        assert_eq!((found.limit, found.window_ms), (percent(15, Detach), 10_000));
        let gone = CpuUse { is_loaded: false, ..of(1, "net", second, None) };
        let [(2, found)] = &over(&[gone, uses[1].clone()], Some(percent(15, Detach)))[..] else { panic!() };
        assert_eq!(found.owner_used, Some(CpuShare(160_000)));
        let others = [of(1, "net", second, None), of(2, "other", second * 60, None)];
        assert_eq!(over(&others, Some(percent(15, Detach))), []);
        let own =
            [of(1, "net", second, Some(percent(9, Warn))), of(2, "net", second, Some(percent(10, Warn)))];
        let [(1, found)] = &over(&own, None)[..] else { panic!() };
        assert_eq!(found.owner_used, None);
    }

    #[test]
    fn of_two_limits_the_one_that_does_more_counts() {
        let second = 1_000_000_000;
        for (own, owners, done) in [(Warn, Detach, Detach), (Detach, Warn, Detach), (Warn, Warn, Warn)] {
            let uses = [of(1, "net", second, Some(percent(1, own)))];
            let [(1, found)] = &over(&uses, Some(percent(1, owners)))[..] else { panic!() };
            assert_eq!(found.done, done);
        }
    }
}
