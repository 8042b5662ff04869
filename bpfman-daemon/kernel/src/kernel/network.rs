//! Interfaces of network namespaces, and watches of them.

use std::path::{Path, PathBuf};

use bpfmand_core::{AddressedInterface, InterfaceFacts, NetnsId, NetnsNumber};

use crate::{FoundNamespace, InterfaceWatch, KernelError, NetworkWatch};

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

    /// Finds a network namespace: at the path that led to it before, then as the daemon's own, by names, mounts, processes and
    /// threads. By its number, it is known to have ended also where no path says so.
    ///
    /// # Errors
    /// The kernel refuses to tell. That is never taken for an end.
    fn find_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
        number: Option<NetnsNumber>,
    ) -> Result<FoundNamespace, KernelError>;

    /// Returns the number of a namespace in the table of the daemon's own, and gives it one if it has none; none for the
    /// daemon's own, and where the kernel lets this process give none. The number does not keep the namespace.
    ///
    /// # Errors
    /// [`KernelError::NamespaceNotFound`]; or the kernel gives none.
    fn number_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
    ) -> Result<Option<NetnsNumber>, KernelError>;

    /// Returns whether a path leads to a namespace that is known to live; no path: the daemon's own.
    fn leads_to(&self, path: Option<&Path>, netns: NetnsId) -> bool;

    /// One file for each network namespace that can be found, with or without a name; not the daemon's own.
    fn all_namespaces(&self) -> Vec<PathBuf>;

    /// All interfaces of a namespace with their addresses, by number.
    ///
    /// # Errors
    /// [`KernelError::NoNamespace`], or the kernel refuses to tell.
    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError>;

    /// A watch of the interfaces and addresses of many namespaces, of none so far.
    fn watch_network(&self) -> Box<dyn NetworkWatch>;
}
