//! Which programs take the place of functions of which others.

use std::collections::{BTreeSet, HashMap};

use bpfmand_core::{ProgramId, ProgramUid};
use serde::{Deserialize, Serialize};

use crate::state::records::ProgramRecord;

/// The function of another program whose place a program takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendsRecord {
    /// Whose.
    pub program: ExtendedProgram,
    /// Its name.
    pub function: String,
}

/// The program that another extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtendedProgram {
    /// One of ours, whose kernel id changes with each boot.
    Ours(ProgramUid),
    /// One of somebody else's: nobody finds it again after a reboot.
    Others(ProgramId),
}

impl ExtendedProgram {
    /// Our key of it, if it is ours.
    pub const fn uid(self) -> Option<ProgramUid> {
        match self {
            Self::Ours(uid) => Some(uid),
            Self::Others(_) => None,
        }
    }
}

/// Programs by the program of ours that they extend, found without going through all of them.
#[derive(Debug, Default)]
pub struct Extensions(HashMap<ProgramUid, BTreeSet<ProgramUid>>);

impl Extensions {
    /// A program is recorded from now on.
    pub fn add(&mut self, program: &ProgramRecord) {
        if let Some(extended) = program.extended() {
            self.0.entry(extended).or_default().insert(program.uid);
        }
    }

    /// It is no more.
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

    /// Programs that take the place of functions of this one, ascending.
    pub fn of(&self, program: ProgramUid) -> impl Iterator<Item = ProgramUid> + '_ {
        self.0.get(&program).into_iter().flatten().copied()
    }
}
