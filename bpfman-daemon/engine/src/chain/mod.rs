//! Chains: the members of a hook, built into the program that the hook runs. Its programs and maps are pinned in one
//! folder, which every hook of the same composition runs; it is removed with the last record that names it.

mod budget;
pub mod build;
mod built;
mod client_measurements;
mod composition;
mod counters;
pub mod empty;
mod frags;
mod freeze;
pub mod ladder;
mod leaving;
pub mod load;
mod place;
mod rebuild;
mod refused;
mod senders;
mod settings;
mod settle;
mod shares;
mod sharing;
mod specialise;
pub mod times;

pub use crate::state::cpu_time::MemberTime;
pub use built::BuiltChain;
pub(crate) use counters::family;
pub use counters::{ChainCounters, LinkCounters};
pub use freeze::{DEFAULT_FREEZE_SECONDS, MAX_FREEZE_SECONDS};
pub use settings::{HookChange, HookSwitches, SwitchCaller, SwitchRight};
pub use shares::shares;
