//! The traits that stand for the kernel, one a concern.

mod facts;
mod hooks;
mod network;
mod objects;
mod pins;

pub use facts::KernelFacts;
pub use hooks::KernelHooks;
pub use network::KernelNetwork;
pub use objects::KernelObjects;
pub use pins::KernelPins;

/// The kernel: the sum of its traits. Where a type is bound by it, their methods need no import.
///
/// A handle keeps its object alive. Objects also live while pinned, and while another object uses them.
pub trait Kernel: KernelObjects + KernelPins + KernelHooks + KernelNetwork + KernelFacts {}

impl<K: KernelObjects + KernelPins + KernelHooks + KernelNetwork + KernelFacts> Kernel for K {}
