//! Queries of pinned objects, which do not keep them open.

use std::path::Path;

use bpfman_model::{LinkFacts, MapId, ProgramFacts};
use bpfmand_kernel::Kernel;

use crate::state::records::{LinkRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn pinned_link(&self, pin: &Path) -> Result<Option<LinkFacts>, EngineError> {
        Ok(self.open_pinned(pin)?.map(|link| self.kernel.link_of(&link)).transpose()?)
    }

    pub(crate) fn pinned_links(&self, link: &LinkRecord) -> Result<Vec<LinkFacts>, EngineError> {
        let pin = paths::link(link.id);
        let pins = match link.point.is_per_cpu() {
            true => self.kernel.list_folder(&pin)?.iter().map(|name| pin.join(name)).collect(),
            false => vec![pin],
        };
        pins.iter().filter_map(|pin| self.pinned_link(pin).transpose()).collect()
    }

    pub(crate) fn open_pinned(&self, pin: &Path) -> Result<Option<K::Handle>, EngineError> {
        let refused = match self.kernel.open_pin(pin) {
            Ok(found) => return Ok(found),
            Err(refused) => refused,
        };
        // Folders cannot be opened as pins.
        match self.kernel.list_folder(pin)?.first() {
            Some(first) => Ok(self.kernel.open_pin(&pin.join(first))?),
            None => Err(refused.into()),
        }
    }

    pub(crate) fn pinned_program(&self, pin: &Path) -> Result<Option<ProgramFacts>, EngineError> {
        Ok(self.kernel.open_pin(pin)?.map(|program| self.kernel.program_of(&program)).transpose()?)
    }

    pub(crate) fn pinned_map(&self, pin: &Path) -> Result<Option<MapId>, EngineError> {
        Ok(self.kernel.open_pin(pin)?.map(|map| self.kernel.map_of(&map)).transpose()?.map(|map| map.id))
    }

    pub(crate) fn is_pinned_program(&self, record: &ProgramRecord) -> Result<bool, EngineError> {
        let facts = self.pinned_program(&record.pin())?;
        Ok(facts.is_some_and(|facts| facts.id == record.id && facts.tag == record.tag))
    }
}
