use std::path::{Path, PathBuf};

use bpfmand_core::{AddressedInterface, InterfaceFacts, NetnsId, NetnsNumber};

use crate::{FoundNamespace, InterfaceWatch, KernelError, NetworkWatch};

/// Interfaces of network namespaces, and watches of them.
pub trait KernelNetwork {
    /// Returns all interfaces of a namespace, by index. Errors: [`KernelError::NoNamespace`], or the kernel refuses.
    fn interfaces(&self, netns: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError>;

    /// Watches the interfaces of a namespace from now on. The watch keeps the namespace alive, even if its path is
    /// removed: see [`InterfaceEvent::NamespaceGone`](bpfmand_core::InterfaceEvent::NamespaceGone). Errors:
    /// [`KernelError::NoNamespace`], or the kernel refuses.
    fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError>;

    /// Returns the paths of named network namespaces (`ip netns`), sorted. Some may not be namespaces. A namespace with
    /// several names is listed once, the daemon's own not at all.
    fn named_namespaces(&self) -> Vec<PathBuf>;

    /// Finds a network namespace: by its last path, as the daemon's own, then by names, mounts, processes and threads.
    /// With its number, its end is certain even without a path. Fails if the kernel refuses, which is never taken for
    /// its end.
    fn find_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
        number: Option<NetnsNumber>,
    ) -> Result<FoundNamespace, KernelError>;

    /// Returns the number of a namespace in the table of the daemon's own, and assigns one if necessary; `None` for the
    /// daemon's own, and if this process may not assign one. The number does not keep the namespace alive. Errors:
    /// [`KernelError::NamespaceNotFound`]; or the kernel assigns none.
    fn number_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
    ) -> Result<Option<NetnsNumber>, KernelError>;

    /// Returns whether a path leads to a namespace that certainly exists; without a path, the daemon's own.
    fn leads_to(&self, path: Option<&Path>, netns: NetnsId) -> bool;

    /// Returns one path for each network namespace that can be found, named or not, except the daemon's own.
    fn all_namespaces(&self) -> Vec<PathBuf>;

    /// Returns all interfaces of a namespace with their addresses, by index. Errors: [`KernelError::NoNamespace`], or
    /// the kernel refuses.
    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError>;

    /// Returns a watch for interfaces and addresses of many namespaces, initially none.
    fn watch_network(&self) -> Box<dyn NetworkWatch>;
}
