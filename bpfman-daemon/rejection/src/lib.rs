//! Why the kernel's verifier rejects a program, in words.
//!
//! The verifier answers with a log of what it walked through, whose last lines say what is wrong in the words of its own
//! source code. [`Rejection::read`] finds those lines, the instruction, the source line and the register that they are
//! about, and says for [known causes](RejectionCause) what they mean and what to do. It reads what Linux 5.10 to 6.18
//! write. Nothing is decided by it but which sentence somebody reads: a log holds names and source lines that the
//! program's author chose.

mod cause;
mod known;
mod log;
mod pattern;
mod rejection;
mod source_line;
mod value;

pub use cause::RejectionCause;
pub use rejection::{RejectedInstruction, RejectedRegister, Rejection};
pub use source_line::SourceLine;
