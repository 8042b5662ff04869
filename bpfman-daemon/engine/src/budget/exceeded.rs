//! Decides which programs exceeded their limits.

use std::collections::BTreeMap;
use std::time::Duration;

use bpfman_model::{CpuAction, CpuExcess, CpuLimit, CpuShare, Owner, ProgramUid};

use crate::state::MapGroup;

/// CPU use of one program in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuUse {
    pub program: ProgramUid,
    pub owner: Owner,
    /// Group that is charged and paused: for an application, all applications of its namespace.
    pub(crate) payer: MapGroup,
    /// Limit of the program itself.
    pub limit: Option<CpuLimit>,
    /// CPU time, in nanoseconds.
    pub nanoseconds: u64,
    /// Number of breakpoints that processes hit, if the program is a tenant's probe.
    pub traps: u64,
    /// False if the program was unloaded: its use counts for its owner, but no action is taken.
    pub is_loaded: bool,
    /// True if it is attached: an owner's attached programs are detached first.
    pub is_attached: bool,
}

/// Excess of a program's limit or of its owner's. The program may have been unloaded: its owner is paused all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverLimit {
    /// Program that used the most.
    pub program: ProgramUid,
    pub owner: Owner,
    pub(crate) payer: MapGroup,
    pub excess: CpuExcess,
}

impl OverLimit {
    fn of(one: &CpuUse, excess: CpuExcess) -> Self {
        Self { program: one.program, owner: one.owner.clone(), payer: one.payer.clone(), excess }
    }
}

/// Returns programs above their own limit, and for each owner above its limit the program that used the most.
#[must_use]
pub fn excesses(
    uses: &[CpuUse],
    window: Duration,
    limit_of: impl Fn(&Owner) -> Option<CpuLimit>,
) -> Vec<OverLimit> {
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    let excess = |nanoseconds: u64, owner_used, limit: CpuLimit| CpuExcess {
        used: CpuShare::of(nanoseconds, window),
        owner_used,
        limit,
        window_ms,
        done: limit.action,
        of_traps: false,
    };
    let mut found: BTreeMap<ProgramUid, OverLimit> = BTreeMap::new();
    let mut owners: BTreeMap<&Owner, Vec<&CpuUse>> = BTreeMap::new();
    for one in uses {
        if let Some(limit) = one.limit
            && one.is_loaded
            && CpuShare::of(one.nanoseconds, window) > limit.share
        {
            found.insert(one.program, OverLimit::of(one, excess(one.nanoseconds, None, limit)));
        }
        owners.entry(&one.owner).or_default().push(one);
    }
    for (owner, programs) in owners {
        let Some(limit) = limit_of(owner) else { continue };
        let all = programs.iter().fold(0_u64, |sum, one| sum.saturating_add(one.nanoseconds));
        let all = CpuShare::of(all, window);
        if all > limit.share
            && let Some(most) = programs.iter().max_by_key(|one| (one.is_attached, one.nanoseconds))
        {
            let of_owner = OverLimit::of(most, excess(most.nanoseconds, Some(all), limit));
            match found.get(&most.program) {
                // Of equal actions, the owner's excess counts, because only that begins a pause.
                Some(own) if own.excess.limit.action as u8 > limit.action as u8 => {}
                _ => {
                    found.insert(most.program, of_owner);
                }
            }
        }
    }
    found.into_values().collect()
}

/// Limit of the time that breakpoints of an owner's probes may cost all processes, its own and others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapLimit {
    pub share: CpuShare,
    /// Time that a breakpoint costs, in nanoseconds.
    pub nanoseconds: u64,
}

/// Returns the most frequently hit probe of each owner over the limit. The kernel does not time a breakpoint.
#[must_use]
pub fn trap_excesses(uses: &[CpuUse], window: Duration, limit: TrapLimit) -> Vec<OverLimit> {
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    let share = |traps: u64| CpuShare::of(traps.saturating_mul(limit.nanoseconds), window);
    let mut owners: BTreeMap<&MapGroup, (u64, &CpuUse)> = BTreeMap::new();
    for one in uses.iter().filter(|one| one.traps > 0) {
        let (all, most) = owners.entry(&one.payer).or_insert((0, one));
        *all = all.saturating_add(one.traps);
        let rank = |one: &CpuUse| (one.is_attached, one.traps);
        if rank(most) < rank(one) {
            *most = one;
        }
    }
    let over = owners.into_values().filter(|(all, _)| share(*all) > limit.share);
    over.map(|(all, most)| {
        let excess = CpuExcess {
            used: share(most.traps),
            owner_used: Some(share(all)),
            limit: CpuLimit { share: limit.share, action: CpuAction::Detach },
            window_ms,
            done: CpuAction::Detach,
            of_traps: true,
        };
        OverLimit::of(most, excess)
    })
    .collect()
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
            payer: MapGroup::Grant(owner.to_owned()),
            limit,
            nanoseconds,
            traps: 0,
            is_loaded: true,
            is_attached: true,
        }
    }

    const fn percent(percent: u64, action: bpfman_model::CpuAction) -> CpuLimit {
        CpuLimit { share: CpuShare(percent * 10_000), action }
    }

    fn over(uses: &[CpuUse], owners: Option<CpuLimit>) -> Vec<(u64, CpuExcess)> {
        let limit_of = |owner: &Owner| owners.filter(|_| *owner == Owner::Grant("net".to_owned()));
        excesses(uses, WINDOW, limit_of).into_iter().map(|over| (over.program.0, over.excess)).collect()
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
        let gone = |uid, nanoseconds| CpuUse {
            is_loaded: false,
            is_attached: false,
            ..of(uid, "net", nanoseconds, Some(percent(1, Detach)))
        };
        let [(2, found)] = &over(&[gone(1, second), uses[1].clone()], Some(percent(15, Detach)))[..] else {
            panic!()
        };
        assert_eq!(found.owner_used, Some(CpuShare(160_000)));
        let idle = CpuUse { is_attached: false, ..of(3, "net", 1, None) };
        let ended = [gone(1, second), gone(2, second * 6 / 10), idle];
        let [(1, found)] = &over(&ended, Some(percent(15, Detach)))[..] else { panic!() };
        assert_eq!(found.owner_used, Some(CpuShare(160_000)));
        let others = [of(1, "net", second, None), of(2, "other", second * 60, None)];
        assert_eq!(over(&others, Some(percent(15, Detach))), []);
        let own =
            [of(1, "net", second, Some(percent(9, Warn))), of(2, "net", second, Some(percent(10, Warn)))];
        let [(1, found)] = &over(&own, None)[..] else { panic!() };
        assert_eq!(found.owner_used, None);
    }

    #[test]
    fn breakpoints_of_an_owner_count_together() {
        let limit = TrapLimit { share: CpuShare(100_000), nanoseconds: 2_000 };
        let traps = |program, owner, traps| CpuUse { traps, ..of(program, owner, 0, None) };
        let within = [traps(1, "net", 300_000), traps(2, "net", 200_000), traps(3, "other", 500_000)];
        assert_eq!(trap_excesses(&within, WINDOW, limit), []);
        let over = [traps(1, "net", 300_000), traps(2, "net", 200_100), traps(3, "other", 1)];
        let [OverLimit { program: ProgramUid(1), excess, .. }] = &trap_excesses(&over, WINDOW, limit)[..]
        else {
            panic!()
        };
        assert_eq!((excess.used, excess.owner_used), (CpuShare(60_000), Some(CpuShare(100_020))));
        assert_eq!((excess.done, excess.of_traps), (Detach, true));
        let gone = CpuUse { is_loaded: false, is_attached: false, ..traps(1, "net", 400_000) };
        for (uses, expected) in
            [(vec![gone.clone(), over[1].clone()], 2), (vec![CpuUse { traps: u64::MAX, ..gone }], 1)]
        {
            let [found] = &trap_excesses(&uses, WINDOW, limit)[..] else { panic!() };
            assert_eq!(
                (found.program, &found.payer),
                (ProgramUid(expected), &MapGroup::Grant("net".to_owned()))
            );
        }
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
