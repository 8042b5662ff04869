//! Access to maps of managed programs, as open descriptors for callers.

use std::sync::Arc;

use bpfman_model::{MapFacts, MapId, Owner, ProgramId};
use bpfmand_kernel::Kernel;

use crate::describe::details::MapDetails;
use crate::state::State;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

/// Map, as callers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedMap {
    /// Map by kernel id.
    Id(MapId),
    /// Map by managed program and name in the object.
    OfProgram {
        program: ProgramId,
        /// Name of the map in the object.
        name: String,
    },
}

/// Map of managed programs, together with the programs that use it.
#[derive(Clone, Debug)]
pub struct UsedMap {
    id: MapId,
    record: MapRecord,
    programs: Vec<Arc<ProgramRecord>>,
    lies_in: Vec<MapId>,
}

impl UsedMap {
    pub(super) const fn of_programs(id: MapId, record: MapRecord, programs: Vec<Arc<ProgramRecord>>) -> Self {
        Self { id, record, programs, lies_in: Vec::new() }
    }

    pub(super) const fn inner(
        id: MapId,
        record: MapRecord,
        programs: Vec<Arc<ProgramRecord>>,
        lies_in: Vec<MapId>,
    ) -> Self {
        Self { id, record, programs, lies_in }
    }

    /// Returns the maps of maps that contain it; none for a map that programs use directly.
    #[must_use]
    pub fn lies_in(&self) -> &[MapId] {
        &self.lies_in
    }

    pub(super) fn details(&self, facts: MapFacts) -> MapDetails {
        let folder = self.programs.first().filter(|_| self.record.public);
        MapDetails {
            name: self.record.name.clone(),
            facts,
            pin: folder.map(|program| paths::maps(program.map_folder).join(&self.record.name)),
            used_by: self.programs.iter().map(|program| program.id).collect(),
        }
    }

    #[must_use]
    pub const fn id(&self) -> MapId {
        self.id
    }

    /// Returns the name in the object.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Returns the managed programs that use it, at least one, with their owners.
    pub fn users(&self) -> impl Iterator<Item = (ProgramId, Owner)> {
        self.programs.iter().map(|program| (program.id, program.owner()))
    }
}

impl State {
    /// Returns all programs except lost ones, since the kernel may have reused the ids in their records.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = &Arc<ProgramRecord>> {
        self.programs.values().filter(|program| !self.lost.contains(&program.uid))
    }

    fn users_of_map(&self, id: MapId) -> Vec<Arc<ProgramRecord>> {
        let uses = |program: &&Arc<ProgramRecord>| program.maps.iter().any(|map| map.id == Some(id));
        self.loaded().filter(uses).cloned().collect()
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns a map of a managed program. Maps of an adopted program are excluded: its loader created them.
    pub fn find_map(&self, wanted: &WantedMap) -> Result<UsedMap, EngineError> {
        let state = self.state();
        let id = match wanted {
            WantedMap::Id(id) => *id,
            WantedMap::OfProgram { program: number, name } => {
                let program = state.program(*number).ok_or(EngineError::NoProgram(*number))?;
                let program = Some(program).filter(|program| !state.lost.contains(&program.uid));
                let maps = || program.into_iter().flat_map(|program| &program.maps);
                let found = maps().find(|map| map.name == *name).and_then(|map| map.id);
                found.ok_or_else(|| EngineError::NoMap {
                    program: *number,
                    map: name.clone(),
                    there: maps().filter(|map| map.id.is_some()).map(|map| map.name.clone()).collect(),
                })?
            }
        };
        let programs = state.users_of_map(id);
        let record = programs.iter().find_map(|program| program.maps.iter().find(|map| map.id == Some(id)));
        let record = record.ok_or(EngineError::NoMapOfOurs(id))?.clone();
        Ok(UsedMap::of_programs(id, record, programs))
    }

    /// Opens a map, read-only unless `write` is set, and returns its details.
    pub fn open_map(&self, map: &UsedMap, write: bool) -> Result<(MapDetails, K::Handle), EngineError> {
        let opened = if write { self.kernel.open_map(map.id) } else { self.kernel.open_map_to_read(map.id) };
        let handle = match opened {
            Ok(handle) => handle,
            Err(error) => {
                let is_gone = self.kernel.map(map.id)?.is_none();
                return Err(if is_gone { EngineError::NoMapOfOurs(map.id) } else { error.into() });
            }
        };
        let facts = self.kernel.map_of(&handle)?;
        Ok((map.details(facts), handle))
    }
}
