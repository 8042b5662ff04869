//! Queries of pinned objects, which do not keep them open.

use std::path::Path;

use bpfman_model::{LinkFacts, MapId, ProgramFacts};
use bpfmand_kernel::Kernel;

use crate::engine::pin_finding::{PinFinding, unless_other};
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
        let Some(found) = self.object_at(pin)? else { return Ok(None) };
        Ok(unless_other(self.kernel.program_of(&found))?)
    }

    pub(crate) fn pinned_map(&self, pin: &Path) -> Result<Option<MapId>, EngineError> {
        let Some(found) = self.object_at(pin)? else { return Ok(None) };
        Ok(unless_other(self.kernel.map_of(&found))?.map(|map| map.id))
    }

    fn object_at(&self, pin: &Path) -> Result<Option<K::Handle>, EngineError> {
        match self.kernel.open_pin(pin) {
            Err(_) if self.kernel.is_folder(pin)? => Ok(None),
            found => Ok(found?),
        }
    }

    pub(crate) fn is_pinned_program(&self, record: &ProgramRecord) -> Result<bool, EngineError> {
        Ok(self.find_program_of(record)? == PinFinding::Own)
    }
}
