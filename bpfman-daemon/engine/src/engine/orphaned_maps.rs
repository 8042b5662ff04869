//! Maps of owners whose programs are gone: a descriptor or a pin in a volume keeps their memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bpfman_model::MapId;
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::state::records::ProgramRecord;
use crate::state::{MapGroup, RecordKey, State};

const MAX_UNASKED: usize = 1024;

/// Maps that no managed program uses any more. A restart forgets them.
#[derive(Debug, Default)]
pub struct OrphanedMaps(Mutex<BTreeMap<MapId, OrphanedMap>>);

#[derive(Clone, Debug)]
struct OrphanedMap {
    group: MapGroup,
    bytes: u64,
}

impl OrphanedMaps {
    pub fn remember(&self, before: UsedMaps, state: &State) {
        if before.0.is_empty() {
            return;
        }
        let mut left = before.0;
        for map in programs(state).flat_map(|program| &program.maps) {
            if let Some(id) = map.id {
                left.remove(&id);
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
    }

    fn bytes_of(&self, group: Option<&MapGroup>) -> u64 {
        let left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_group = left.values().filter(|map| group.is_none_or(|group| map.group == *group));
        of_group.fold(0, |sum, map| sum.saturating_add(map.bytes))
    }

    pub(crate) fn ids(&self) -> Vec<MapId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn forget(&self, id: MapId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

pub struct UsedMaps(BTreeMap<MapId, OrphanedMap>);

impl UsedMaps {
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a RecordKey>, state: &State) -> Self {
        let mut used = BTreeMap::new();
        for key in keys {
            let program = match key {
                RecordKey::Program(uid) => {
                    state.programs.get(uid).map(|program| (&**program, program.boot.as_str()))
                }
                RecordKey::Previous(uid) => {
                    state.previous.get(uid).map(|previous| (&previous.program, previous.boot.as_str()))
                }
                _ => None,
            };
            // Map ids of an earlier boot may now belong to other maps.
            let Some((program, _)) = program.filter(|(_, boot)| *boot == state.boot) else { continue };
            let group = MapGroup::of(&program.owner(), &program.metadata);
            if group.is_unlimited() {
                continue;
            }
            for map in &program.maps {
                let Some(id) = map.id else { continue };
                used.insert(id, OrphanedMap { group: group.clone(), bytes: map.bytes });
            }
        }
        Self(used)
    }
}

pub fn programs(state: &State) -> impl Iterator<Item = &ProgramRecord> {
    let previous = state.previous.values().map(|previous| &previous.program);
    state.programs.values().map(|program| &**program).chain(previous)
}

impl<K: Kernel> Engine<K> {
    /// Returns the bytes of maps that a group's programs left behind. If they exceed `enough`, or there are many maps,
    /// first forgets those that the kernel no longer has.
    pub(crate) fn bytes_of_left_maps(&self, group: Option<&MapGroup>, enough: u64) -> u64 {
        if self.left_maps.bytes_of(group) > enough || self.left_maps.ids().len() > MAX_UNASKED {
            self.prune_left_maps();
        }
        self.left_maps.bytes_of(group)
    }

    /// Forgets maps that are gone. Loads do so only under a limit, so the checks of all hooks do it, too.
    pub(crate) fn prune_left_maps(&self) {
        for id in self.left_maps.ids() {
            if matches!(self.kernel.map(id), Ok(None)) {
                self.left_maps.forget(id);
            }
        }
    }
}
