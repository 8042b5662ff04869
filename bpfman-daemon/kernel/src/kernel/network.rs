//! Interfaces of network namespaces, and watches of them.

use std::path::{Path, PathBuf};

use bpfmand_core::{AddressedInterface, InterfaceFacts};

use crate::{InterfaceWatch, KernelError, NetworkWatch};

/// Interfaces of network namespaces, and watches of them.
pub trait KernelNetwork {
    /// All interfaces of a namespace, by number.
    ///
    /// # Errors
    /// [`KernelError::NoNamespace`], or the kernel refuses to tell.
    fn interfaces(&self, netns: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError>;

    /// Watches the interfaces of a namespace from now on. The watch keeps the namespace alive, also when its path is
    /// gone: see [`InterfaceEvent::NamespaceGone`](bpfmand_core::InterfaceEvent::NamespaceGone).
    ///
    /// # Errors
    /// [`KernelError::NoNamespace`], or the kernel refuses.
    fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError>;

    /// Files of the network namespaces that have a name (`ip netns`), sorted. Not every one need be a namespace. A
    /// namespace with several names is there once, the daemon's own not at all.
    fn named_namespaces(&self) -> Vec<PathBuf>;

    /// All interfaces of a namespace with their addresses, by number.
    ///
    /// # Errors
    /// [`KernelError::NoNamespace`], or the kernel refuses to tell.
    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError>;

    /// A watch of the interfaces and addresses of many namespaces, of none so far.
    fn watch_network(&self) -> Box<dyn NetworkWatch>;
}
