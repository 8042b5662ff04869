//! What ends by itself: programs that take more of a CPU than they may, and whatever has lived as long as it was to.

mod act;
mod expire;
mod judge;
mod leased;
mod readings;

pub use act::CpuOutcome;
pub use expire::{Ending, Expired};
pub use judge::{CpuUse, excesses};
pub use readings::CpuReadings;
