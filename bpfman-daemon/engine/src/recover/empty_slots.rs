//! Slots of arrays that a load after a reboot leaves empty: the program in them was unloaded before.

use std::sync::Arc;

use bpfmand_kernel::Kernel;
use bpfmand_object::SlotTarget;

use crate::Engine;
use crate::attach::slot_concerns::{empty_slot, slot_of};
use crate::load::linked::LinkedLoad;
use crate::state::records::ProgramRecord;

impl<K: Kernel> Engine<K> {
    pub(super) fn note_empty_slots(
        &self,
        programs: &[Arc<ProgramRecord>],
        object: &LinkedLoad<'_>,
        problems: &mut Vec<String>,
    ) {
        for slot in object.initial_slots() {
            let SlotTarget::Program(name) = &slot.target else { continue };
            let Some(map) = object.maps().get(slot.map).filter(|map| !map.pin_by_name) else { continue };
            if programs.iter().any(|program| program.name == *name) {
                continue;
            }
            let uses = |program: &&Arc<ProgramRecord>| {
                let linked = object.programs.iter().find(|linked| linked.name == program.name);
                linked.is_some_and(|linked| linked.linked.text.map_indexes().contains(&slot.map))
            };
            for user in programs.iter().filter(uses) {
                let what = empty_slot(&slot_of(slot.key, &map.name), name);
                problems.push(format!("program \"{}\": {what}", user.name));
                self.note_slot(user.uid, what);
            }
        }
    }
}
