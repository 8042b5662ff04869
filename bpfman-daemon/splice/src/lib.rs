//! Joins relocated programs into one: pure and deterministic.
//!
//! [`splice`] takes the members of a chain, as compiled, and gives one program that runs them one after another:
//! each `exit` becomes a jump to a joint, where the member's verdict either ends the chain or leads into the next
//! member. The meaning is that of running the members alone, one after another, on the packet as the one before
//! left it, until a verdict is outside its member's proceed-on set.
//!
//! ```text
//! [keep context] [body 1] [check] [context, zeroed frame] [body 2] [check] … [end of the chain] [functions of all]
//! ```
//!
//! Members that cannot be inlined are refused by name, with the reason and what can be done about it. The same
//! members and options give the same bytes.

mod asm;
mod btf_merge;
mod btf_records;
mod debug_info;
mod error;
mod flow;
mod frame;
mod hook;
mod joint;
mod layout;
mod licence;
mod member;
mod opcode;
mod options;
mod pointer;
mod proceed;
mod refusal;
mod refuse;
mod scan;
mod splice;
mod stack;
#[cfg(test)]
mod testing;
mod verdicts;

pub use error::{MemberName, SpliceError};
pub use hook::{Code, HookKind, can_attach_direct};
pub use layout::{Part, Section};
pub use licence::{Licence, is_gpl_compatible};
pub use member::Member;
pub use options::{FragsRule, FrameRounding, SpliceOptions};
pub use proceed::ProceedMask;
pub use refusal::Refusal;
pub use splice::{MAX_INSNS, MAX_MAPS, MAX_MEMBERS, Splice, splice};
