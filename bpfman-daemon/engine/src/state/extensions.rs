//! Index of extensions: programs that replace functions of other programs.

use std::collections::{BTreeSet, HashMap};

use bpfman_model::{ProgramId, ProgramUid};
use serde::{Deserialize, Serialize};

use crate::state::records::ProgramRecord;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendsRecord {
    pub program: ExtendedProgram,
    pub function: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtendedProgram {
    /// A managed program, whose kernel id changes with each boot.
    Ours(ProgramUid),
    /// A third-party program, which cannot be found again after a reboot.
    Others(ProgramId),
}

impl ExtendedProgram {
    pub const fn uid(self) -> Option<ProgramUid> {
        match self {
            Self::Ours(uid) => Some(uid),
            Self::Others(_) => None,
        }
    }
}

#[derive(Debug, Default)]
pub struct Extensions(HashMap<ProgramUid, BTreeSet<ProgramUid>>);

impl Extensions {
    pub fn add(&mut self, program: &ProgramRecord) {
        if let Some(extended) = program.extended() {
            self.0.entry(extended).or_default().insert(program.uid);
        }
    }

    pub fn remove(&mut self, program: &ProgramRecord) {
        if let Some(extended) = program.extended()
            && let Some(extensions) = self.0.get_mut(&extended)
        {
            extensions.remove(&program.uid);
            if extensions.is_empty() {
                self.0.remove(&extended);
            }
        }
    }

    pub fn of(&self, program: ProgramUid) -> impl Iterator<Item = ProgramUid> + '_ {
        self.0.get(&program).into_iter().flatten().copied()
    }
}
