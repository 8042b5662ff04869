//! Slots that name programs unloaded before this start: their records are gone, but the object and the kernel have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpfman_model::uapi::map_type;
use bpfman_model::{Foreign, MapId, OperationId, ProgramUid, is_called};
use bpfmand_kernel::Kernel;
use bpfmand_object::SlotTarget;

use crate::attach::slot_concerns::{empty_slot, slot_of, still_runs};
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    pub(super) fn note_slots_again(&self) {
        let loads: BTreeMap<OperationId, Vec<Arc<ProgramRecord>>> = {
            let state = self.state();
            let is_loaded = |program: &&Arc<ProgramRecord>| {
                self.is_of_this_boot(program)
                    && state.lost.why(&program.uid).is_none()
                    && !program.is_adopted()
            };
            let mut loads = BTreeMap::<_, Vec<_>>::new();
            for program in state.programs.values().filter(is_loaded) {
                loads.entry(program.operation).or_default().push(Arc::clone(program));
            }
            loads
        };
        for programs in loads.values() {
            match self.slots_of_unloaded(programs) {
                Ok(found) => found.into_iter().for_each(|(user, what)| self.note_slot(user, what)),
                Err(error) => tracing::warn!("the slots of {} are not known: {error}", programs[0].name),
            }
        }
    }

    fn slots_of_unloaded(
        &self,
        programs: &[Arc<ProgramRecord>],
    ) -> Result<Vec<(ProgramUid, String)>, EngineError> {
        let mut arrays = BTreeMap::<usize, (MapId, &str)>::new();
        for (at, map) in programs.iter().flat_map(|program| program.maps.iter().enumerate()) {
            let Some(id) = map.id.filter(|_| !map.shared && !arrays.contains_key(&at)) else { continue };
            if self.kernel.map(id)?.is_some_and(|facts| facts.map_type == map_type::PROG_ARRAY) {
                arrays.insert(at, (id, &map.name));
            }
        }
        let mut found = Vec::new();
        if arrays.is_empty() {
            return Ok(found);
        }
        // The time of these reads is limited, too: the start must not wait for a slow object.
        let object = self.options.objects.read_again(self.blobs.get(&programs[0].blob)?)?;
        for slot in object.initial_slots() {
            let (Some((id, map)), SlotTarget::Program(name)) = (arrays.get(&slot.map), &slot.target) else {
                continue;
            };
            let what = slot_of(slot.key, map);
            let what = match self.kernel.program_in_slot(&self.kernel.open_map(*id)?, slot.key)? {
                _ if self.has_user(*id, name) => continue,
                None => empty_slot(&what, name),
                Some(program) if self.state().by_id.contains_key(&program) => continue,
                Some(program) => {
                    let kernel_name =
                        self.kernel.program(program)?.map(|facts| facts.name).unwrap_or_default();
                    if !is_called(&Foreign { program, name: kernel_name }, name) {
                        continue;
                    }
                    still_runs(&what, name)
                }
            };
            let users = programs.iter().filter(|user| user.maps.iter().any(|map| map.id == Some(*id)));
            found.extend(users.map(|user| (user.uid, what.clone())));
        }
        Ok(found)
    }

    fn has_user(&self, map: MapId, name: &str) -> bool {
        let has_map = |program: &ProgramRecord| program.maps.iter().any(|known| known.id == Some(map));
        self.state().programs.values().any(|program| program.name == name && has_map(program))
    }
}
