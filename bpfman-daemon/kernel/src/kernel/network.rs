use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bpfman_model::{AddressedInterface, InterfaceFacts, NetnsId, NetnsNumber};

use crate::{FoundNamespace, InterfaceWatch, KernelError, NetworkWatch};

/// Interfaces of network namespaces, and watches of them.
pub trait KernelNetwork {
    /// Returns all interfaces of a namespace, by index.
    fn interfaces(&self, netns: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError>;

    /// Watches the interfaces of a namespace from now on. The watch keeps the namespace alive, even if its path is
    /// removed: see [`InterfaceEvent::NamespaceGone`](bpfman_model::InterfaceEvent::NamespaceGone). Errors:
    /// [`KernelError::NoNamespace`], or the kernel refuses.
    fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError>;

    /// Returns the paths in `ip netns`, each namespace once, without the daemon's own; some may not be namespaces.
    fn named_namespaces(&self) -> Vec<PathBuf>;

    /// Finds a namespace: by its last path, as the daemon's own, then by names, mounts, processes and threads. `number`
    /// makes its end certain even if no path leads to it. A call that the kernel refuses never counts as its end.
    fn find_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
        number: Option<NetnsNumber>,
    ) -> Result<FoundNamespace, KernelError>;

    /// Returns or assigns a namespace's number in the daemon's table, if permitted. Numbers keep no namespace alive.
    fn number_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
    ) -> Result<Option<NetnsNumber>, KernelError>;

    /// Returns whether a path (`None`: the daemon's own) leads to a namespace that certainly exists.
    fn leads_to(&self, path: Option<&Path>, netns: NetnsId) -> bool;

    /// Holds recorded namespaces without a cookie (before Linux 5.14) while a path leads to them: no other one gets
    /// their inode. After that, the number shows whether a namespace with the inode is the recorded one.
    fn hold_namespaces(&self, recorded: &BTreeMap<NetnsId, Option<NetnsNumber>>) -> Result<(), KernelError>;

    /// Returns one path per network namespace that can be found, except the daemon's own.
    fn all_namespaces(&self) -> Vec<PathBuf>;

    /// Returns all interfaces of a namespace with their addresses, by index.
    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError>;

    /// Returns a watch of many namespaces, initially none.
    fn watch_network(&self) -> Box<dyn NetworkWatch>;
}
