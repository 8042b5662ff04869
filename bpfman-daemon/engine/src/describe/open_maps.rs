//! Maps of our programs, held to be given to others.

use std::sync::Arc;

use bpfmand_core::{MapFacts, MapId, Owner, ProgramId};
use bpfmand_kernel::Kernel;

use crate::describe::details::MapDetails;
use crate::state::State;
use crate::state::records::{MapRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

/// A map, as callers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedMap {
    /// By the kernel's id.
    Id(MapId),
    /// By a program of ours and its name in the object.
    OfProgram {
        /// The kernel's id.
        program: ProgramId,
        /// In the object.
        name: String,
    },
}

/// A map of ours, and whose programs use it.
#[derive(Clone, Debug)]
pub struct UsedMap {
    id: MapId,
    record: MapRecord,
    programs: Vec<Arc<ProgramRecord>>,
    /// Maps of maps that it lies in, if no program uses it itself.
    lies_in: Vec<MapId>,
}

impl UsedMap {
    /// A map that programs use themselves.
    pub(super) const fn of_programs(id: MapId, record: MapRecord, programs: Vec<Arc<ProgramRecord>>) -> Self {
        Self { id, record, programs, lies_in: Vec::new() }
    }

    /// A map that programs reach by maps of maps.
    pub(super) const fn inner(
        id: MapId,
        record: MapRecord,
        programs: Vec<Arc<ProgramRecord>>,
        lies_in: Vec<MapId>,
    ) -> Self {
        Self { id, record, programs, lies_in }
    }

    /// Maps of maps that it lies in; none for a map that programs use themselves.
    #[must_use]
    pub fn lies_in(&self) -> &[MapId] {
        &self.lies_in
    }

    /// Describes it, by what the kernel says of it.
    pub(super) fn details(&self, facts: MapFacts) -> MapDetails {
        let folder = self.programs.first().filter(|_| self.record.public);
        MapDetails {
            name: self.record.name.clone(),
            facts,
            pin: folder.map(|program| paths::maps(program.map_folder).join(&self.record.name)),
            used_by: self.programs.iter().map(|program| program.id).collect(),
        }
    }

    /// The kernel's id.
    #[must_use]
    pub const fn id(&self) -> MapId {
        self.id
    }

    /// Name in the object.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The programs of ours that use it, at least one, with their owners.
    pub fn users(&self) -> impl Iterator<Item = (ProgramId, Owner)> {
        self.programs.iter().map(|program| (program.id, program.owner()))
    }
}

impl State {
    /// Programs that are in the kernel: the ids in the records of others may be those of strangers by now.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = &Arc<ProgramRecord>> {
        self.programs.values().filter(|program| !self.lost.contains(&program.uid))
    }

    fn users_of_map(&self, id: MapId) -> Vec<Arc<ProgramRecord>> {
        let uses = |program: &&Arc<ProgramRecord>| program.maps.iter().any(|map| map.id == Some(id));
        self.loaded().filter(uses).cloned().collect()
    }
}

impl<K: Kernel> Engine<K> {
    /// A map of a program of ours. What an adopted program uses is not ours: its loader made it.
    ///
    /// # Errors
    /// No program of ours uses such a map.
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

    /// Holds a map, for reading alone unless it is to be written, and describes it.
    ///
    /// # Errors
    /// It is gone, or the kernel refuses.
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
