//! Automatic termination: programs that exceed their CPU limit, and objects whose lifetime is over.

mod act;
mod expire;
mod judge;
mod leased;
mod readings;

pub use act::CpuOutcome;
pub use expire::{Ending, Expired};
pub use judge::{CpuUse, excesses};
pub use readings::CpuReadings;
