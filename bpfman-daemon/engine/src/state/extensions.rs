//! Index of extensions: programs that replace functions of other programs.

use std::collections::{BTreeSet, HashMap};

use bpfmand_core::{ProgramId, ProgramUid};
use serde::{Deserialize, Serialize};

use crate::state::records::ProgramRecord;

/// Function of another program that an extension replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendsRecord {
    pub program: ExtendedProgram,
    pub function: String,
}

/// Program that an extension extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtendedProgram {
    /// A managed program, whose kernel id changes with each boot.
    Ours(ProgramUid),
    /// A third-party program, which cannot be found again after a reboot.
    Others(ProgramId),
}

impl ExtendedProgram {
    /// Returns the uid of the extended program, if it is a managed one.
    pub const fn uid(self) -> Option<ProgramUid> {
        match self {
            Self::Ours(uid) => Some(uid),
            Self::Others(_) => None,
        }
    }
}

/// Extensions by the managed program that they extend, to find them without a search through all programs.
#[derive(Debug, Default)]
pub struct Extensions(HashMap<ProgramUid, BTreeSet<ProgramUid>>);

impl Extensions {
    /// Adds a program, if it is an extension.
    pub fn add(&mut self, program: &ProgramRecord) {
        if let Some(extended) = program.extended() {
            self.0.entry(extended).or_default().insert(program.uid);
        }
    }

    /// Removes a program.
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

    /// Returns the extensions of this program, in ascending order.
    pub fn of(&self, program: ProgramUid) -> impl Iterator<Item = ProgramUid> + '_ {
        self.0.get(&program).into_iter().flatten().copied()
    }
}
