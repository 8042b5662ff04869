//! Attachments to a map of the program itself.

use bpfman_model::{MapFacts, MapId};
use bpfmand_kernel::Kernel;

use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    pub(super) fn own_map(
        &self,
        program: &ProgramRecord,
        name: &str,
    ) -> Result<(MapId, MapFacts), EngineError> {
        let maps = || program.maps.iter().filter_map(|map| map.id.map(|id| (map, id)));
        let found = maps().find(|(map, _)| map.name == name);
        let (_, id) = found.ok_or_else(|| EngineError::NoMap {
            program: program.id,
            map: name.to_owned(),
            there: maps().map(|(map, _)| map.name.clone()).collect(),
        })?;
        Ok((id, self.kernel.map(id)?.ok_or(EngineError::NoMapOfOurs(id))?))
    }
}
