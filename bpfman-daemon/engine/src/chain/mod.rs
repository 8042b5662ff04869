//! Chains: the members of a hook, made into what the hook runs.
//!
//! What is loaded for a chain is one set of programs and maps, pinned in one folder, which every hook of the same
//! composition runs ([`record::ChainRecord`]). Records of hooks name it; it goes with the last of them.

mod budget;
mod build;
mod built;
mod composition;
mod counters;
mod empty;
mod explain;
mod findings;
mod frags;
mod load;
mod place;
pub mod record;
mod refused;
mod settings;
mod settle;
mod sharing;
mod tag;
mod times;
mod trial;
mod verify;

pub use budget::OwnerBudget;
pub use built::{BuiltChain, Leased};
pub use counters::{ChainCounters, LinkCounters};
pub use place::{filter_name, filter_place, hook_text, named_hook};
pub use refused::first_lines;
pub use settings::{HookChange, HookSwitches};
pub use times::MemberTime;
pub use trial::{TrialMember, hash_of_neighbours};
pub use verify::{ChainVerification, VerifiedPart};

/// Whether chains count where packets leave them, unless a hook's own switch says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CountersMode {
    /// Chains that are joined anyway do.
    #[default]
    Auto,
    /// All do: a lone member is joined with the counting, which costs 1 to 3 ns a packet.
    On,
    /// None does.
    Off,
}
