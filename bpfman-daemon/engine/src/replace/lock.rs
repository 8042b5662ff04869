//! Locks programs that are to be replaced, with all hooks where they are attached.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfman_model::ProgramId;
use bpfmand_kernel::Kernel;

use crate::engine::locks::{Guard, Subject};
use crate::state::records::{LinkRecord, ProgramRecord};
use crate::{Engine, EngineError};

pub struct Locked {
    _held: Vec<Guard>,
    pub old: Vec<Arc<ProgramRecord>>,
    pub links: Vec<Arc<LinkRecord>>,
}

impl<K: Kernel> Engine<K> {
    pub(super) fn lock_version(&self, id: ProgramId) -> Result<Locked, EngineError> {
        // Lock shared maps, as for an unload: the old versions' map folders must not be reused meanwhile.
        let mut held = vec![self.lock(Subject::SharedMaps)];
        let (program, old) = self.lock_program(id)?;
        held.push(program);
        if self.state().lost.contains(&old.uid) {
            return Err(EngineError::NothingToReplace(id, old.name.clone()));
        }
        let (links, hooks) = self.lock_links(std::slice::from_ref(&old));
        held.extend(hooks);
        Ok(Locked { _held: held, old: vec![old], links })
    }

    pub(super) fn lock_load(&self, ids: &[ProgramId]) -> Result<Locked, EngineError> {
        self.admit_changes()?;
        let mut held = vec![self.lock(Subject::SharedMaps)];
        let seen = self.whole_load(ids)?;
        held.extend(seen.iter().map(|program| self.lock(Subject::Program(program.uid))));
        let old = self.whole_load(ids)?;
        let uids = |programs: &[Arc<ProgramRecord>]| programs.iter().map(|p| p.uid).collect::<Vec<_>>();
        if uids(&seen) != uids(&old) {
            return Err(EngineError::Invalid("the load was changed by another request meanwhile".to_owned()));
        }
        let (links, hooks) = self.lock_links(&old);
        held.extend(hooks);
        Ok(Locked { _held: held, old, links })
    }

    /// Returns the programs of one load by uid; the request must name all of them. Reports a refusal as an invalid
    /// request, even if the cause is temporary: node agents understand a conflict as one about maps.
    pub(super) fn whole_load(&self, ids: &[ProgramId]) -> Result<Vec<Arc<ProgramRecord>>, EngineError> {
        let invalid = |message: String| Err(EngineError::Invalid(message));
        let state = self.state();
        let ids: BTreeSet<ProgramId> = ids.iter().copied().collect();
        let mut programs = Vec::with_capacity(ids.len());
        for id in &ids {
            programs.push(Arc::clone(state.program(*id).ok_or(EngineError::NoProgram(*id))?));
        }
        let Some(first) = programs.first().cloned() else {
            return invalid(
                "no program is named; a load is replaced by naming all of its programs".to_owned(),
            );
        };
        let name = |program: &ProgramRecord| format!("{} (\"{}\")", program.id, program.name);
        for program in &programs {
            if program.is_adopted() {
                return invalid(format!(
                    "program {} was attached by someone else and adopted: it is of no load; detach it, and load and \
                     attach the new version",
                    name(program)
                ));
            }
            if program.load() != first.load() {
                return invalid(format!(
                    "programs {} and {} are of different loads; one request replaces one load",
                    name(&first),
                    name(program)
                ));
            }
            if state.lost.contains(&program.uid) {
                return invalid(format!(
                    "program {} could not be loaded again after a reboot, so there is nothing to replace; unload the \
                     programs of this load and load the new version",
                    name(program)
                ));
            }
        }
        let all = state.programs.values().filter(|program| program.load() == first.load());
        if let Some(missing) = all.into_iter().find(|program| !ids.contains(&program.id)) {
            return invalid(format!(
                "program {} is of the same load as program {} and is not named; a load is replaced by naming all of \
                 its programs",
                name(missing),
                name(&first)
            ));
        }
        programs.sort_unstable_by_key(|program| program.uid);
        Ok(programs)
    }
}
