//! Containers and their networks, found for those who have no rights to look.

use std::collections::BTreeSet;
use std::path::Path;

use bpfmand_core::{AddressedInterface, ContainerFacts, ContainerId, NetnsId, WantedContainers};
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
