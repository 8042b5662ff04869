//! What is pinned: asked without holding it.

use std::path::Path;

use bpfmand_core::{LinkFacts, MapId, ProgramFacts};
use bpfmand_kernel::Kernel;

use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// The link of a pin; none if nothing is pinned there.
    pub(crate) fn pinned_link(&self, pin: &Path) -> Result<Option<LinkFacts>, EngineError> {
        Ok(self.kernel.open_pin(pin)?.map(|link| self.kernel.link_of(&link)).transpose()?)
    }

    /// The program of a pin; none if nothing is pinned there.
    pub(crate) fn pinned_program(&self, pin: &Path) -> Result<Option<ProgramFacts>, EngineError> {
        Ok(self.kernel.open_pin(pin)?.map(|program| self.kernel.program_of(&program)).transpose()?)
    }

    /// The map of a pin; none if nothing is pinned there.
    pub(crate) fn pinned_map(&self, pin: &Path) -> Result<Option<MapId>, EngineError> {
        Ok(self.kernel.open_pin(pin)?.map(|map| self.kernel.map_of(&map)).transpose()?.map(|map| map.id))
    }

    /// True if what is pinned as a program is the one of its record.
    pub(crate) fn is_pinned_program(&self, record: &ProgramRecord) -> Result<bool, EngineError> {
        let facts = self.pinned_program(&record.pin())?;
        Ok(facts.is_some_and(|facts| facts.id == record.id && facts.tag == record.tag))
    }
}
