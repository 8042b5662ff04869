//! The rules of the program manager, free of I/O: what a program is, where it can be attached, in which
//! order programs of one hook run, and what has to be done to get from one state to another.

mod insn;
mod map_spec;
mod program_text;

pub use insn::{Insn, op};
pub use map_spec::{MapRole, MapSpec};
pub use program_text::{BoundText, FuncInfo, FunctionSpan, LineInfo, MapId, ProgramText};
