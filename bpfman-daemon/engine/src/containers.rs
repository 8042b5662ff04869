//! Containers, found for those who have no rights to look.

use std::collections::BTreeSet;

use bpfmand_core::{ContainerFacts, ContainerId, WantedContainers};
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
}
