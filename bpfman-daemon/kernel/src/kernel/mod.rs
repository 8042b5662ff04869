//! Traits of the kernel, one per concern.

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

/// Sum of all kernel traits. For a type with this bound, their methods need no import.
///
/// A handle keeps its object alive. Objects also live while pinned, and while another object uses them.
pub trait Kernel: KernelObjects + KernelPins + KernelHooks + KernelNetwork + KernelFacts {}

impl<K: KernelObjects + KernelPins + KernelHooks + KernelNetwork + KernelFacts> Kernel for K {}
