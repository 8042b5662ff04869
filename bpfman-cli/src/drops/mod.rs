//! Sources of dropped packets: programs by their counted verdicts, programs of which nothing is counted, and the kernel.

mod rows;
mod rule_commands;

pub use rows::{CountedDrop, Drops, KernelDrop, UncountedProgram};
