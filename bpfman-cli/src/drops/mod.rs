//! Sources of dropped packets: programs with counted verdicts, programs without counts, and the kernel.

mod rows;
mod rule_commands;

pub use rows::{CountedDrop, Drops, KernelDrop, UncountedProgram};
