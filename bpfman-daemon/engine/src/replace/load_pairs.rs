//! Which programs make up a load, and which of a new version takes the place of which.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfmand_core::{LoadRequest, OperationId, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_object::ObjectFile;

use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// The programs of a new version, and what they are to the old ones.
pub struct Pairing {
    /// One entry a program of the request: the old program whose place it takes.
    pub successors: Vec<Option<Arc<ProgramRecord>>>,
    /// Old programs that have no new version, by uid.
    pub removed: Vec<Arc<ProgramRecord>>,
}

impl Pairing {
    /// Pairs programs of the same name and type.
    pub fn of(
        old: &[Arc<ProgramRecord>],
        load: &LoadRequest,
        object: &ObjectFile,
    ) -> Result<Self, EngineError> {
        for (at, program) in old.iter().enumerate() {
            if let Some(other) = old.iter().skip(at + 1).find(|other| other.name == program.name) {
                return Err(EngineError::Invalid(format!(
                    "programs {} and {} of the load both have the name \"{}\", so it is not known which is replaced \
                     by which; replace one of them by itself under another name first",
                    program.id, other.id, program.name
                )));
            }
        }
        let mut successors = Vec::with_capacity(load.programs.len());
        for wanted in &load.programs {
            let program_type = object.resolve_type(&wanted.name, wanted.program_type)?;
            let is_same =
                |old: &&Arc<ProgramRecord>| old.name == wanted.name && old.program_type == program_type;
            successors.push(old.iter().find(is_same).cloned());
        }
        let goes_on: BTreeSet<ProgramUid> = successors.iter().flatten().map(|old| old.uid).collect();
        let removed = old.iter().filter(|old| !goes_on.contains(&old.uid)).cloned().collect();
        Ok(Self { successors, removed })
    }

    /// True for an old program that has no new version.
    pub fn is_removed(&self, program: ProgramUid) -> bool {
        self.removed.iter().any(|removed| removed.uid == program)
    }
}

/// The load that a program belongs to, also after it was replaced by itself or loaded again.
fn load_of(program: &ProgramRecord) -> OperationId {
    program.origin.unwrap_or(program.operation)
}

impl<K: Kernel> Engine<K> {
    /// The programs of one load, all of which have to be named, by uid.
    pub(crate) fn whole_load(&self, ids: &[ProgramId]) -> Result<Vec<Arc<ProgramRecord>>, EngineError> {
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
            if load_of(program) != load_of(&first) {
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
        let all = state.programs.values().filter(|program| load_of(program) == load_of(&first));
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
