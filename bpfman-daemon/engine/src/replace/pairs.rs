//! Pairs the programs of a new version with the programs that they replace.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfman_model::{LoadRequest, ProgramUid};
use bpfmand_object::ObjectFacts;

use crate::EngineError;
use crate::state::records::ProgramRecord;

pub struct Pairing {
    pub successors: Vec<Option<Arc<ProgramRecord>>>,
    pub removed: Vec<Arc<ProgramRecord>>,
}

impl Pairing {
    pub fn of(
        old: &[Arc<ProgramRecord>],
        load: &LoadRequest,
        object: &ObjectFacts,
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

    pub fn of_one(old: &[Arc<ProgramRecord>]) -> Self {
        Self { successors: old.iter().cloned().map(Some).collect(), removed: Vec::new() }
    }

    /// Refuses a new version of another type, which the existing links could not run.
    pub fn check_type(&self, load: &LoadRequest, object: &ObjectFacts) -> Result<(), EngineError> {
        for (wanted, old) in load.programs.iter().zip(self.successors.iter().flatten()) {
            let new = object.resolve_type(&wanted.name, wanted.program_type)?;
            if old.program_type != new {
                return Err(EngineError::Invalid(format!(
                    "the new version is of type {new} and the old one of type {}; a program is replaced by one of its \
                     own type",
                    old.program_type
                )));
            }
        }
        Ok(())
    }

    pub fn is_removed(&self, program: ProgramUid) -> bool {
        self.removed.iter().any(|removed| removed.uid == program)
    }
}
