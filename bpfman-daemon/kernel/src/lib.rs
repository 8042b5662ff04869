//! The kernel behind a trait: [`linux::LinuxKernel`] is the real one, [`sim::SimKernel`] an in-memory one with the
//! same rules for planning tests and fleet simulation.
//!
//! This is the only room with `unsafe` code.

mod error;
mod kernel;
#[cfg(feature = "linux")]
pub mod linux;
pub mod sim;

pub use error::KernelError;
pub use kernel::{
    Anchor, Features, FilterPlace, Kernel, LinkTarget, Loaded, LogRequest, ProgramKind, ProgramLoad,
    TcFilter, XdpMode,
};
