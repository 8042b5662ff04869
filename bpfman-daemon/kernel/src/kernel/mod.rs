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

/// Sum of all kernel traits. Objects live while a handle, a pin or another object holds them.
pub trait Kernel: KernelObjects + KernelPins + KernelHooks + KernelNetwork + KernelFacts {}

impl<K: KernelObjects + KernelPins + KernelHooks + KernelNetwork + KernelFacts> Kernel for K {}
