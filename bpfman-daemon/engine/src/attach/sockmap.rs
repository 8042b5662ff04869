//! Attachments to sockmaps.

use bpfman_model::{AttachPoint, MapId, map_type};
use bpfmand_kernel::Kernel;

use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    pub(crate) fn sockmap_of(&self, program: &ProgramRecord, name: &str) -> Result<MapId, EngineError> {
        let (id, facts) = self.own_map(program, name)?;
        if matches!(facts.map_type, map_type::SOCKMAP | map_type::SOCKHASH) {
            return Ok(id);
        }
        Err(EngineError::Invalid(format!(
            "map \"{name}\" of program {} holds no sockets: programs of type {} attach to maps of type sockmap or \
             sockhash",
            program.id, program.program_type
        )))
    }
}

/// Returns whether a replacement keeps the link: at a sockmap, only if the new version uses the same map.
pub fn stays_in_place(point: &AttachPoint, old: &ProgramRecord, new: &ProgramRecord) -> bool {
    let AttachPoint::Sockmap { map: name } = point else { return old.target == new.target };
    let of =
        |program: &ProgramRecord| program.maps.iter().find(|map| map.name == *name).and_then(|map| map.id);
    old.target == new.target && of(old) == of(new)
}
