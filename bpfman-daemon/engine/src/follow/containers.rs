//! Containers and their networks, found for those who have no rights to look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bpfmand_core::{AddressedInterface, ContainerFacts, ContainerId, NetnsId, Peer, WantedContainers};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Finds containers that have processes now, all with one look.
    ///
    /// # Errors
    /// Processes cannot be looked at.
    pub fn find_containers(&self, ids: BTreeSet<ContainerId>) -> Result<Vec<ContainerFacts>, EngineError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.kernel.containers(&WantedContainers::new(ids))?)
    }

    /// The place of the first of these paths of which something is kept from this caller. Of the others the caller sees what
    /// is there, or that nothing is, and with `read` may read it.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn first_hidden(
        &self,
        peer: &Peer,
        paths: &[PathBuf],
        read: bool,
    ) -> Result<Option<usize>, EngineError> {
        Ok(self.kernel.first_hidden(peer, paths, read)?)
    }

    /// True if a process is in a container: it sees other files than the host's first process does.
    #[must_use]
    pub fn is_contained(&self, pid: u32) -> bool {
        self.kernel.is_contained(pid)
    }

    /// Which network namespace a file leads to, and the interfaces that are in it.
    ///
    /// # Errors
    /// [`bpfmand_kernel::KernelError::NoNamespace`].
    pub fn find_network_namespace(
        &self,
        path: &Path,
    ) -> Result<(NetnsId, Vec<AddressedInterface>), EngineError> {
        let identity = self.present(Some(path))?.netns;
        Ok((identity, self.kernel.addressed_interfaces(Some(path))?))
    }
}
