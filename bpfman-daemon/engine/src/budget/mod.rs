//! Automatic termination: programs that exceed their CPU limit, and objects whose lifetime is over.

mod enforce;
mod exceeded;
mod expire;
mod leased;
mod readings;

pub use enforce::CpuOutcome;
pub use exceeded::{CpuUse, OverLimit, TrapLimit, excesses, trap_excesses};
pub use expire::{Ending, Expired};
pub use readings::CpuReadings;
