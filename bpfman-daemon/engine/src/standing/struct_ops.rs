//! Status of a struct_ops link: the kernel reports the map that it holds, and no program.

use std::path::Path;

use bpfman_model::{AttachPoint, MapId};
use bpfmand_kernel::Kernel;

use super::{Loss, Observed, Standing};
use crate::state::records::{LinkOfBoot, ProgramRecord};
use crate::{Engine, EngineError};

pub fn functions_at(program: &ProgramRecord, point: &AttachPoint) -> Option<MapId> {
    let AttachPoint::StructOps { map: name } = point else { return None };
    program.maps.iter().find(|map| map.name == *name).and_then(|map| map.id)
}

impl<K: Kernel> Engine<K> {
    pub(super) fn observe_functions(
        &self,
        pin: &Path,
        program: &ProgramRecord,
        point: &AttachPoint,
        recorded: Option<&LinkOfBoot>,
    ) -> Result<Observed<K::Handle>, EngineError> {
        let Some(link) = self.kernel.open_pin(pin)? else {
            let link = self.recorded_link(recorded)?;
            return Ok(Observed { link, ..Observed::nothing(Standing::Unpinned) });
        };
        let facts = self.kernel.link_of(&link)?;
        let standing = match facts.map {
            None => Standing::lost(Loss::ForcedOff),
            found if found == functions_at(program, point) => Standing::Running,
            Some(_) => Standing::Replaced { by: facts.program, name: None },
        };
        let running = (standing == Standing::Running).then_some(program.id);
        Ok(Observed { standing, program: running, link: Some((link, facts)) })
    }
}
