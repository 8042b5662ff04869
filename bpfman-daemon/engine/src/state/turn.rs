//! Turns of links: the place of their programs among those of other ranks.

use bpfman_model::{HookKind, Rank, RankOrder};

use crate::state::records::{LinkRecord, ProgramRecord};

impl ProgramRecord {
    /// Returns the rank of the program: every program with rules is a tenant's.
    #[must_use]
    pub fn rank(&self) -> Rank {
        if self.guard.is_some() { Rank::Tenant } else { self.owner().rank() }
    }

    /// Returns whether the guard lets the program return only NEXT and DROP.
    #[must_use]
    pub fn is_narrowed(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.narrowed)
    }
}

impl LinkRecord {
    /// Returns the position of the program among programs of other ranks.
    #[must_use]
    pub fn turn(&self, program: &ProgramRecord) -> RankOrder {
        let kind = self.hook.map(|key| key.kind).or_else(|| self.point.hook().map(|(_, kind)| kind));
        // Before the machine's programs on tcx, an accepting verdict of a tenant would keep the kernel from running them.
        let is_held = !matches!(kind, Some(HookKind::Tcx(_))) || program.is_narrowed();
        let direction = kind.and_then(HookKind::direction).filter(|_| is_held);
        RankOrder::of(program.rank().max(self.owner(program).rank()), direction)
    }
}
