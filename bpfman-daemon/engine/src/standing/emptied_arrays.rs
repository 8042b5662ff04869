//! Arrays of programs that the kernel emptied: it does so when their last pin and descriptor are gone, though programs
//! still use them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bpfman_model::uapi::map_type;
use bpfman_model::{MapId, OperationId, ProgramId};
use bpfmand_kernel::Kernel;
use bpfmand_object::SlotTarget;

use crate::engine::pin_finding::PinFinding;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError, paths};

/// Number of equal counts of filled slots, with a wait for packets before each, that show that the kernel no longer
/// empties an array.
const MAX_SAME: usize = 3;

/// Maximum number of fills: each process that closes an array without pins makes the kernel empty it once more, later.
const MAX_FILLS: usize = 4;

impl<K: Kernel> Engine<K> {
    /// Fills the slots of an array that the objects of its loads declare, if all of these are empty and no pin of the
    /// array is left. The caller holds the lock of a program that uses it, or runs during the start.
    pub(crate) fn fill_emptied(&self, id: MapId, map: &K::Handle) -> Result<(), EngineError> {
        if self.kernel.map_of(map)?.map_type != map_type::PROG_ARRAY || self.has_pin(id)? {
            return Ok(());
        }
        let slots = self.declared_slots(id)?;
        if slots.is_empty() || !self.is_emptied(map, &slots)? {
            return Ok(());
        }
        for _ in 0..MAX_FILLS {
            for (slot, target) in &slots {
                self.kernel.fill_slot(map, *slot, &self.loaded_program(*target)?)?;
            }
            if self.stays_filled(map, &slots)? {
                tracing::warn!(map = %id, slots = slots.len(), "the kernel emptied an array of programs whose pins were removed: it has those of its object again");
                return Ok(());
            }
        }
        Err(EngineError::Fault(format!(
            "the kernel emptied the array of programs {id} again after each of {MAX_FILLS} fills: tail calls through it fall \
             through until the next check fills it"
        )))
    }

    fn has_pin(&self, id: MapId) -> Result<bool, EngineError> {
        let pins: Vec<PathBuf> = {
            let state = self.state();
            let maps = state.programs.values().flat_map(|program| {
                let folder = paths::maps(program.map_folder);
                program
                    .maps
                    .iter()
                    .filter(|map| map.id == Some(id) && map.public)
                    .map(move |map| (folder.clone(), map))
            });
            maps.flat_map(|(folder, map)| [Some(folder.join(&map.name)), map.shared_pin()])
                .flatten()
                .collect()
        };
        for pin in pins {
            if self.find_map_at(&pin, id)? == PinFinding::Own {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the slots that loads filled, the latest last, with programs that are still loaded.
    fn declared_slots(&self, id: MapId) -> Result<BTreeMap<u32, ProgramId>, EngineError> {
        let loads: BTreeMap<OperationId, Arc<ProgramRecord>> = {
            let state = self.state();
            let has_map = |program: &&Arc<ProgramRecord>| program.maps.iter().any(|map| map.id == Some(id));
            let programs = state.programs.values().filter(has_map);
            programs.map(|program| (program.operation, Arc::clone(program))).collect()
        };
        let mut found = BTreeMap::new();
        for program in loads.values() {
            let object = self.options.objects.read(self.blobs.get(&program.blob)?)?;
            let state = self.state();
            let target = |name: &str| {
                let is_it =
                    |other: &&Arc<ProgramRecord>| other.operation == program.operation && other.name == name;
                state.programs.values().find(is_it).map(|target| target.id)
            };
            let slots = object.initial_slots().iter();
            let slots = slots.filter(|slot| program.maps.get(slot.map).is_some_and(|map| map.id == Some(id)));
            found.extend(slots.filter_map(|slot| match &slot.target {
                SlotTarget::Program(name) => Some((slot.key, target(name)?)),
                SlotTarget::Map(_) => None,
            }));
        }
        Ok(found)
    }

    fn filled(&self, map: &K::Handle, slots: &BTreeMap<u32, ProgramId>) -> Result<usize, EngineError> {
        let mut filled = 0;
        for slot in slots.keys() {
            filled += usize::from(self.kernel.has_slot(map, *slot)?);
        }
        Ok(filled)
    }

    fn stays_filled(&self, map: &K::Handle, slots: &BTreeMap<u32, ProgramId>) -> Result<bool, EngineError> {
        for _ in 0..MAX_SAME {
            self.kernel.wait_for_readers()?;
            if self.filled(map, slots)? < slots.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether the array is empty, after a wait while the kernel empties one slot after the other.
    fn is_emptied(&self, map: &K::Handle, slots: &BTreeMap<u32, ProgramId>) -> Result<bool, EngineError> {
        let count = || self.filled(map, slots);
        let (mut filled, mut same) = (count()?, 0);
        while filled > 0 && same < MAX_SAME {
            self.kernel.wait_for_readers()?;
            let now = count()?;
            same = if now < filled { 0 } else { same + 1 };
            filled = now;
        }
        Ok(filled == 0)
    }
}
