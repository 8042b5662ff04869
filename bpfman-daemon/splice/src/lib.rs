//! Joins relocated programs into one: pure and deterministic.
//!
//! [`splice()`] joins the members of a chain: each `exit` becomes a jump to the glue, where the verdict either ends the
//! chain or leads into the next member. The meaning is that of running the members alone, one after another, on the
//! packet as the one before left it, until a verdict is outside its member's proceed-on set.
//!
//! ```text
//! [keep context] [body 1] [check] [context, zeroed frame] [body 2] [check] … [end of the chain] [functions of all]
//! ```
//!
//! [`plan()`] decides how each member runs ([`JoinMode`]) and where a program ends and the next begins, and why
//! ([`ChainPlan::reason`]). The caller creates the maps that the plan needs, and [`compile()`] returns the programs.
//! The same members and options give the same bytes.

mod analysis;
mod chain;
mod dispatch;
mod emit;
mod error;
mod guard;
mod planning;
mod share;
mod specialise;
mod text;

pub use analysis::narrow::{NotNarrow, narrowed};
pub use analysis::sends::{calls_clone_redirect, why_it_may_send, without_clone_redirect};
pub use chain::counters::{COUNTER_ROWS, CounterLayout};
pub use chain::hook::{Code, SpliceHook, can_attach_direct};
pub use chain::join_mode::{JoinMode, MemberPlan, NotInlinedReason};
pub use chain::member::{Member, MemberOwner};
pub use chain::options::{
    DEFERRING_KFUNCS, FragsRule, FrameRounding, SpliceOptions, THROWING_KFUNCS, VERIFIED_LIMIT,
};
pub use chain::plan::{ArrayUse, Attempt, ChainPlan, ChainStrategy, CutReason, SegmentPlan};
pub use chain::proceed::ProceedMask;
pub use chain::sections::{ChainPart, ChainSection};
pub use dispatch::config::{
    DISPATCHER_CONFIG_VERSION, DispatcherConfig, DispatcherSlot, dispatcher_config, dispatcher_takes_frags,
    read_dispatcher_config,
};
pub use dispatch::dispatcher::{
    DISPATCHER_CONFIG_SIZE, DISPATCHER_EMPTY_SLOT, DISPATCHER_NAME, DISPATCHER_SLOTS, dispatcher,
    dispatcher_slot, dispatcher_slot_type,
};
pub use emit::clock::{TIMED_ONE_IN, TimeLayout};
pub use emit::compile::{Bindings, Compiled, Timing, compile, splice};
pub use emit::splice::Splice;
pub use error::limits::{MAX_INSNS, MAX_MAPS, MAX_MEMBERS, MAX_TAIL_CALLS};
pub use error::refusal::Refusal;
pub use error::{MemberName, SpliceError};
pub use guard::allowed::{Calls, ForbiddenUse, is_helper};
pub use guard::helper_costs::MapBounds;
pub use guard::loops::MAX_ROUNDS;
pub use guard::steps::CountedLoops;
pub use guard::test::{
    CredentialOffsets, GUARD_ENTRIES, GroupOffsets, GuardTest, Guarded, GuardedTasks, Protection,
    TaskOffsets, guard_entry, guard_table, guarded, set_guard_entry,
};
pub use planning::planner::plan;
#[cfg(debug_assertions)]
pub use share::validate::proofs;
pub use specialise::{Departures, PacketTargets, ReadOnlyMap, is_soon_removed, specialised};
pub use text::licence::{Licence, is_gpl_compatible};
