//! Joins relocated programs into one: pure and deterministic.
//!
//! [`splice()`] takes the members of a chain, as compiled, and gives one program that runs them one after another:
//! each `exit` becomes a jump to the glue, where the member's verdict either ends the chain or leads into the next
//! member. The meaning is that of running the members alone, one after another, on the packet as the one before
//! left it, until a verdict is outside its member's proceed-on set.
//!
//! ```text
//! [keep context] [body 1] [check] [context, zeroed frame] [body 2] [check] … [end of the chain] [functions of all]
//! ```
//!
//! [`plan()`] decides how each member runs ([`Way`]) and where a program ends and the next begins; it says why
//! ([`ChainPlan::reason`]). The caller makes the maps that the plan asks for, and [`compile()`] gives the programs. The
//! same members and options give the same bytes.

mod asm;
mod btf_merge;
mod btf_records;
mod clock;
mod compile;
mod counters;
mod cut;
mod debug_info;
mod dispatcher;
mod dispatcher_types;
mod error;
mod exits;
mod flow;
mod frame;
mod glue;
mod hook;
mod layout;
mod licence;
mod member;
mod opcode;
mod options;
mod packet_write;
mod plan;
mod planner;
mod pointer;
mod proceed;
mod refusal;
mod relocate;
mod scan;
mod sections;
mod splice;
mod stack;
mod survey;
mod tail_calls;
#[cfg(test)]
mod testing;
mod verdicts;
mod way;

pub use clock::{TIMED_ONE_IN, TimeLayout};
pub use compile::{Bindings, Compiled, Timing, compile, splice};
pub use counters::{COUNTER_ROWS, CounterLayout};
pub use dispatcher::{
    DISPATCHER_CONFIG_SIZE, DISPATCHER_EMPTY_SLOT, DISPATCHER_NAME, DISPATCHER_SLOTS, dispatcher,
    dispatcher_slot, dispatcher_slot_type,
};
pub use error::{MemberName, SpliceError};
pub use hook::{Code, HookKind, can_attach_direct};
pub use licence::{Licence, is_gpl_compatible};
pub use member::{Member, Owner};
pub use options::{
    DEFERRING_KFUNCS, FragsRule, FrameRounding, SpliceOptions, THROWING_KFUNCS, VERIFIED_LIMIT,
};
pub use plan::{ArrayUse, Attempt, ChainPlan, CutReason, SegmentPlan, Strategy};
pub use planner::plan;
pub use proceed::ProceedMask;
pub use refusal::Refusal;
pub use sections::{Part, Section};
pub use splice::{MAX_INSNS, MAX_MAPS, MAX_MEMBERS, MAX_TAIL_CALLS, Splice};
pub use way::{MemberPlan, Way, WayReason};
