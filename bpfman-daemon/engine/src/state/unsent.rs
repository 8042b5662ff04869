//! Denied ways to send packets: packets that tenants' programs send in these ways bypass the machine's programs.

use bpfman_model::{Direction, HookKey, HookKind, RankOrder};
use bpfmand_splice::ProceedMask;
use serde::{Deserialize, Serialize};

use crate::state::State;
use crate::state::records::{LinkRecord, ProgramRecord};

const SENDING_VERDICTS: u32 = 1 << 3 | 1 << 4;
const CLONES: u32 = 1 << 16;

/// Set of ways to send packets: XDP verdicts by their bits, and copies that a tc program sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unsent(u32);

impl Unsent {
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub const fn verdicts(self) -> ProceedMask {
        ProceedMask(self.0 & SENDING_VERDICTS)
    }

    #[must_use]
    pub const fn has_clones(self) -> bool {
        self.0 & CLONES != 0
    }

    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl State {
    /// Returns the ways denied to a member. `XDP_TX` sends through the hook's interface, and a redirect through any
    /// interface of the namespace: the machine's programs there see neither these packets nor copies sent at egress.
    #[must_use]
    pub fn unsent(&self, key: &HookKey, link: &LinkRecord, program: &ProgramRecord) -> Unsent {
        let ways = match key.kind {
            HookKind::Xdp => SENDING_VERDICTS,
            // At ingress, the machine's programs have seen the packet, and its programs at the target see the copy.
            HookKind::Tc(Direction::Egress) if program.may_clone() => CLONES,
            HookKind::Tc(_) | HookKind::Tcx(_) => 0,
        };
        let is_held = ways != 0 && link.turn(program) != RankOrder::Machine && self.is_guarded(key);
        Unsent(if is_held { ways } else { 0 })
    }

    #[must_use]
    pub fn unsent_at(&self, key: &HookKey) -> Unsent {
        let links = self.links.of_hook(key);
        let of_links = links.filter_map(|link| Some(self.unsent(key, link, self.member(link.program)?)));
        of_links.fold(Unsent::default(), Unsent::and)
    }

    /// Returns whether the machine has programs of tc or tcx in the network namespace of a hook.
    pub fn is_guarded(&self, key: &HookKey) -> bool {
        let hooks = self.links.hooks_in(key.netns).filter(|hook| hook.kind != HookKind::Xdp);
        let mut links = hooks.flat_map(|hook| self.links.of_hook(&hook).collect::<Vec<_>>());
        links.any(|link| self.place(link).turn == RankOrder::Machine)
    }
}
