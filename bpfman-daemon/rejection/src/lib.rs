//! Explanations of rejections by the kernel's verifier.
//!
//! The verifier returns a log of its walk, and its last lines report the fault in the terms of its own source code.
//! [`Rejection::read`] finds those lines with their instruction, source line and register, and explains [known
//! causes](RejectionCause) with advice. It supports the logs of Linux 5.10 to 6.18. The result affects only messages,
//! because a log contains names and source lines chosen by the program's author.

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
