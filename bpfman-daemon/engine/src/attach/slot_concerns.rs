//! Slots of program arrays whose program was unloaded, although other programs still tail-call it.

use std::sync::Arc;

use bpfman_model::uapi::map_type;
use bpfman_model::{ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_object::SlotTarget;

use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// Program with a tail call to an unloaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotConcern {
    /// The program that makes the call.
    pub program: ProgramId,
    /// Slot, array, missing program and consequence, as text.
    pub what: String,
}

pub(crate) fn still_runs(slot: &str, gone: &str) -> String {
    format!(
        "{slot} still runs program \"{gone}\", which was unloaded: after a reboot the slot is empty, and a tail call to it \
         falls through"
    )
}

pub(crate) fn empty_slot(slot: &str, gone: &str) -> String {
    format!("{slot} is empty, since program \"{gone}\" was unloaded: a tail call to it falls through")
}

pub(crate) fn slot_of(slot: u32, map: &str) -> String {
    format!("slot {slot} of map \"{map}\"")
}

impl<K: Kernel> Engine<K> {
    /// Returns the programs whose slots name a program that was unloaded.
    #[must_use]
    pub fn slot_concerns(&self) -> Vec<SlotConcern> {
        let state = self.state();
        let mut all: Vec<SlotConcern> = state
            .slot_concerns
            .iter()
            .filter_map(|((uid, operation), slots)| {
                let program = state.programs.get(uid).filter(|program| program.operation == *operation)?;
                let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
                Some(SlotConcern { program: program.id, what: slots.join("; ") })
            })
            .collect();
        all.sort_unstable_by_key(|concern| concern.program);
        all
    }

    /// Records that an unloaded program was in slots of other programs of its load, unless a later load filled the slots.
    pub(crate) fn note_left_slots(&self, gone: &ProgramRecord, slots: Vec<(ProgramUid, String)>) {
        self.state().slot_concerns.retain(|(uid, _), _| *uid != gone.uid);
        for (user, slot) in slots {
            self.note_slot(user, still_runs(&slot, &gone.name));
        }
    }

    /// Returns the slots that still run a program after its unload. Waits for a reader: hold no lock.
    pub(crate) fn left_slots(&self, gone: ProgramUid) -> Vec<(ProgramUid, String)> {
        let Some(gone) = self.record(gone) else { return Vec::new() };
        self.find_left_slots(&gone).unwrap_or_else(|error| {
            tracing::warn!("the slots of program {} are not known: {error}", gone.id);
            Vec::new()
        })
    }

    fn find_left_slots(&self, gone: &ProgramRecord) -> Result<Vec<(ProgramUid, String)>, EngineError> {
        let others: Vec<Arc<ProgramRecord>> = {
            let state = self.state();
            let others = state.programs.values();
            others
                .filter(|other| other.uid != gone.uid && other.operation == gone.operation)
                .cloned()
                .collect()
        };
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let mut arrays = Vec::new();
        for (at, map) in gone.maps.iter().enumerate() {
            let Some(id) = map.id.filter(|_| !map.shared) else { continue };
            let facts = self.kernel.map(id)?;
            if facts.is_some_and(|facts| facts.map_type == map_type::PROG_ARRAY) {
                arrays.push((at, id));
            }
        }
        if arrays.is_empty() {
            return Ok(Vec::new());
        }
        let object = self.options.objects.read(self.blobs.get(&gone.blob)?)?;
        let mut found = Vec::new();
        for slot in object.initial_slots() {
            let Some((at, id)) = arrays.iter().find(|(at, _)| *at == slot.map) else { continue };
            if !matches!(&slot.target, SlotTarget::Program(name) if *name == gone.name) {
                continue;
            }
            let users = others.iter().filter(|other| other.maps.iter().any(|map| map.id == Some(*id)));
            found.extend(users.map(|user| (user.uid, slot_of(slot.key, &gone.maps[*at].name))));
        }
        Ok(found)
    }

    pub(crate) fn note_slot(&self, user: ProgramUid, what: String) {
        tracing::warn!(program = %user, "{what}");
        let mut state = self.state();
        let Some(operation) = state.programs.get(&user).map(|program| program.operation) else { return };
        state.slot_concerns.entry((user, operation)).or_default().insert(what);
    }
}
