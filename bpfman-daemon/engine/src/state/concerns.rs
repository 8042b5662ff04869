//! Failed effects of a change on other hooks. They are reported until a later change succeeds there.

use std::fmt;

use bpfman_model::{HookKey, HookKind, RankOrder};

use crate::state::State;
use crate::state::records::{HookRecord, LinkRecord};

/// Chain with members of tenants that cannot be built as required; each variant has the error as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendersConcern {
    /// The chain runs without these members.
    LeftOut(String),
    /// The chain was detached.
    Detached(String),
    /// The chain was not changed, and the members may send packets.
    Unblocked(String),
    /// The chain was not changed: it still drops the packets of members that may send again.
    Blocked(String),
}

impl SendersConcern {
    #[must_use]
    pub fn why(&self) -> &str {
        let (Self::LeftOut(why) | Self::Detached(why) | Self::Unblocked(why) | Self::Blocked(why)) = self;
        why
    }
}

impl SendersConcern {
    /// Returns the description without the error, which may name programs of any owner.
    #[must_use]
    pub const fn what(&self) -> &'static str {
        match self {
            Self::LeftOut(_) => {
                "programs of tenants are left out of its chain, since they could send packets past the machine's programs"
            }
            Self::Detached(_) => {
                "its programs are detached, since they could send packets past the machine's programs of tc or tcx"
            }
            Self::Unblocked(_) => {
                "programs of tenants may send packets past the machine's programs of tc and tcx"
            }
            Self::Blocked(_) => {
                "programs of tenants are kept from sending packets, though the machine has no programs of tc or tcx any more"
            }
        }
    }
}

impl fmt::Display for SendersConcern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what(), self.why())
    }
}

/// End of a warning, which does not include the error: only findings of `doctor` do.
const SEE_DOCTOR: &str = "`bpfman doctor` has the reason";

/// Attach point with a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConcern {
    /// Hook, as commands name it.
    pub hook: String,
    pub what: String,
}

impl fmt::Display for HookConcern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.hook, self.what)
    }
}

impl State {
    /// Returns problems that a link may cause: at its hook, and, for a link of the machine, at hooks in its network
    /// namespace from which tenants send packets. The texts name no programs.
    #[must_use]
    pub fn concerns_of(&self, link: &LinkRecord) -> Vec<String> {
        let Some(own) = link.hook else { return Vec::new() };
        let guards = self.place(link).turn == RankOrder::Machine && own.kind != HookKind::Xdp;
        let senders =
            self.senders_concerns.iter().filter(|(key, _)| **key == own || guards && key.netns == own.netns);
        let senders = senders.map(|(key, concern)| {
            let what = concern.what();
            self.concern(key, &format_args!("{what}; {SEE_DOCTOR}"))
        });
        let orders = self.disordered.iter().filter(|(key, _)| key.of_chain() == own.of_chain());
        let orders = orders.map(|(key, _)| self.order_concern(key, SEE_DOCTOR));
        let hook = self.hooks.get(&own);
        let bare = hook.and_then(|hook| self.bare_concern(hook));
        let extended = hook.filter(|hook| self.leaves_out_extended(hook)).map(|_| {
            let what =
                "programs of tenants are left out of its chain, since extensions replace functions of them";
            self.concern(&own, &what)
        });
        let all = senders.chain(orders).chain(bare).chain(extended);
        let mut all: Vec<String> = all.map(|concern| concern.to_string()).collect();
        all.sort_unstable();
        all
    }

    /// Returns problems of hooks that show in the status of no link or chain.
    #[must_use]
    pub fn hidden_concerns(&self) -> Vec<HookConcern> {
        let is_hidden = |concern: &SendersConcern| {
            matches!(concern, SendersConcern::Unblocked(_) | SendersConcern::Blocked(_))
        };
        let senders = self.senders_concerns.iter().filter(|(_, concern)| is_hidden(concern));
        let senders = senders.map(|(key, concern)| self.concern(key, concern));
        let orders = self.disordered.iter().map(|(key, why)| self.order_concern(key, why));
        let mut all: Vec<HookConcern> = senders.chain(orders).collect();
        all.sort_unstable_by(|a, b| a.hook.cmp(&b.hook));
        all
    }

    /// Returns the chains with members of tenants that run without barriers against speculative reads.
    #[must_use]
    pub fn chains_without_barriers(&self) -> Vec<HookConcern> {
        let mut all: Vec<HookConcern> =
            self.hooks.values().filter_map(|hook| self.bare_concern(hook)).collect();
        all.sort_unstable_by(|a, b| a.hook.cmp(&b.hook));
        all
    }

    fn bare_concern(&self, hook: &HookRecord) -> Option<HookConcern> {
        let what = "programs of tenants in its chain have no barriers against speculative reads: the verifier accepted no form of it \
                    without CAP_PERFMON";
        hook.chain.as_ref().filter(|chain| chain.has_perfmon).map(|_| self.concern(&hook.key, &what))
    }

    fn concern(&self, key: &HookKey, what: &impl fmt::Display) -> HookConcern {
        let of_link = || self.links.of_hook(key).find_map(|link| Some(link.point.hook()?.0));
        let interface = self.hooks.get(key).map(|hook| &hook.interface).or_else(of_link);
        let gone = || format!("{} of interface {}", key.kind.name(), key.ifindex);
        HookConcern {
            hook: interface.map_or_else(gone, |interface| key.kind.at(interface)),
            what: what.to_string(),
        }
    }

    fn order_concern(&self, key: &HookKey, why: &str) -> HookConcern {
        self.concern(key, &format_args!("its links do not stand in their order: {why}"))
    }
}
