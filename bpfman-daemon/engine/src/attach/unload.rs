//! Unload: removes a program with all its links.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfman_model::{AttachPoint, ProgramId, ProgramType, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::locks::Subject;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Detaches and unloads a program. Maps stay while another managed program uses them. On an error, all stays.
    pub fn unload(&self, id: ProgramId) -> Result<(), EngineError> {
        let _operation = self.begin()?;
        let uid = self.state().program(id).map(|program| program.uid);
        uid.map_or(Ok(()), |uid| self.follow_moved_dispatchers_of(uid))?;
        let left = uid.map_or_else(Vec::new, |uid| self.left_slots(uid));
        // Lock order: shared maps, programs, hooks. If two programs with the same maps are unloaded concurrently, the
        // second must see that the first is gone.
        let _shared = self.lock(Subject::SharedMaps);
        let (_program_lock, program) = self.lock_program(id)?;
        self.unload_held(&program, left)
    }

    fn follow_moved_dispatchers_of(&self, uid: ProgramUid) -> Result<(), EngineError> {
        let at: BTreeSet<_> = self.state().links_of(uid).filter_map(|link| link.hook).collect();
        self.follow_moved_dispatchers_at(at)
    }

    /// Unloads the program of a record if it is `still` the expected one: another may have its kernel id.
    pub(crate) fn unload_if(
        &self,
        uid: ProgramUid,
        still: impl FnOnce(&ProgramRecord) -> bool,
    ) -> Result<bool, EngineError> {
        let _operation = self.begin()?;
        self.follow_moved_dispatchers_of(uid)?;
        let left = self.left_slots(uid);
        let _shared = self.lock(Subject::SharedMaps);
        let _program_lock = self.lock(Subject::Program(uid));
        match self.record(uid).filter(|program| still(program)) {
            Some(program) => self.unload_held(&program, left).map(|()| true),
            None => Ok(false),
        }
    }

    /// Refuses to unload a struct_ops program that another program's link uses: the map cannot be recreated.
    fn ensure_not_called(&self, program: &ProgramRecord) -> Result<(), EngineError> {
        if program.program_type != ProgramType::StructOps {
            return Ok(());
        }
        let links: Vec<_> = self.state().links.values().cloned().collect();
        for link in links.iter().filter(|link| link.program != program.uid) {
            let AttachPoint::StructOps { map } = &link.point else { continue };
            let Some(holder) = self.record(link.program) else { continue };
            let functions = holder.maps.iter().find(|known| known.name == *map).and_then(|known| known.id);
            if functions.is_some() && program.maps.iter().any(|known| known.id == functions) {
                return Err(EngineError::Invalid(format!(
                    "program {} is a function of map \"{map}\", which link {} of program {} has the kernel call: detach \
                     link {} first",
                    program.id, link.id, holder.id, link.id
                )));
            }
        }
        Ok(())
    }

    /// The caller holds shared maps and the program.
    fn unload_held(
        &self,
        program: &Arc<ProgramRecord>,
        left: Vec<(ProgramUid, String)>,
    ) -> Result<(), EngineError> {
        self.ensure_not_called(program)?;
        self.ensure_not_extended(program, "unloaded")?;
        let (links, _hook_locks) = self.lock_links(std::slice::from_ref(program));
        let hooks: BTreeSet<_> = links.iter().filter_map(|link| link.hook).collect();
        let previous = self.state().previous.get(&program.uid).cloned();
        let result = self.remove("unload", &links, Some(program));
        hooks.iter().for_each(|key| self.keep_order(key));
        if self.record(program.uid).is_none() {
            self.note_left_slots(program, left);
            self.members.remove(program.uid);
            self.drop_bytecode(program.blobs());
            if let Some(previous) = previous {
                self.drop_bytecode(previous.program.blobs());
            }
        }
        result
    }
}
