//! Attachments of struct_ops maps: the link attaches the map, not a single program.

use bpfman_model::{AttachPoint, LinkFacts, LinkId, MapId, map_type};
use bpfmand_kernel::{Kernel, KernelError};

use crate::engine::undo::Undo;
use crate::error::Remainder;
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    pub(crate) fn functions_of(&self, program: &ProgramRecord, name: &str) -> Result<MapId, EngineError> {
        let (id, facts) = self.own_map(program, name)?;
        if facts.map_type == map_type::STRUCT_OPS {
            return Ok(id);
        }
        Err(EngineError::Invalid(format!(
            "map \"{name}\" of program {} is no struct_ops map: programs of type {} are attached by a variable \
             of section .struct_ops.link",
            program.id, program.program_type
        )))
    }

    pub(crate) fn switch_functions<'a>(
        &'a self,
        link: &LinkRecord,
        old: &ProgramRecord,
        new: &ProgramRecord,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        let AttachPoint::StructOps { map } = &link.point else { return Ok(()) };
        let (from, to) = (self.functions_of(old, map)?, self.functions_of(new, map)?);
        if from == to {
            return Ok(());
        }
        let (id, now) = (link.id, new.id);
        self.step("replace", "update link");
        self.put_functions(id, from, to).map_err(|error| match error {
            EngineError::Kernel(KernelError::Call { source, .. }) => EngineError::Invalid(format!(
                "the kernel takes no new version of map \"{map}\" in the place of the old one ({source}): what it is known \
                 by, such as its name, has to stay the same, and not every kind of structure can be swapped. Detach link \
                 {id} first"
            )),
            other => other,
        })?;
        let left = move |error| self.not_undone(Remainder::Link { id, now }, None, error);
        undo.push(move || self.put_functions(id, to, from).map_err(left));
        Ok(())
    }

    fn put_functions(&self, link: LinkId, from: MapId, to: MapId) -> Result<(), EngineError> {
        let Some(link) = self.kernel.open_pin(&paths::link(link))? else { return Ok(()) };
        let (from, to) = (self.kernel.open_map(from)?, self.kernel.open_map(to)?);
        Ok(self.kernel.replace_struct_ops(&link, &to, &from)?)
    }

    /// Puts the recorded map into the link, in which an interrupted replacement may have left another.
    pub(crate) fn mend_functions(
        &self,
        handle: &K::Handle,
        facts: &LinkFacts,
        program: &ProgramRecord,
        map: &str,
    ) -> Result<bool, EngineError> {
        let wanted = self.functions_of(program, map)?;
        let Some(found) = facts.map.filter(|found| *found != wanted) else { return Ok(false) };
        let (found, wanted) = (self.kernel.open_map(found)?, self.kernel.open_map(wanted)?);
        self.kernel.replace_struct_ops(handle, &wanted, &found)?;
        Ok(true)
    }
}
