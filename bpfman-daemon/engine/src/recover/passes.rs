//! Programs are loaded again in two passes, so that nobody's object makes everybody else's programs wait.
//!
//! In the first, an object whose reader fails is put aside. Those are tried once more after all others, within a time that
//! they have together. What fails then waits for the next start.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use bpfmand_core::{Owner, OwningApplication, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::RecoveryReport;
use crate::recover::programs::Renewed;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// Readers that may fail over one owner's objects before the rest of what is this owner's is put aside unread: an owner has
/// as many objects as it likes, and each that keeps its reader busy costs the start some seconds. Root's are not counted:
/// with one bad file its hundreds of others would have to share what time is left.
const FAILURES_OF_AN_OWNER: usize = 3;

/// Which time an object may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// One of its own.
    First,
    /// What is left of that of all that were put aside.
    Second,
}

/// What came of it so far.
#[derive(Default)]
struct Reloads {
    reloaded: HashSet<ProgramUid>,
    renewed: Renewed,
    /// Loads for the second pass.
    aside: Vec<Vec<Arc<ProgramRecord>>>,
    /// Whose maps come back in the second pass, if they do.
    maps_aside: HashSet<ProgramUid>,
    failures: HashMap<Owner, usize>,
}

impl Reloads {
    fn put_aside(&mut self, programs: Vec<Arc<ProgramRecord>>) {
        self.maps_aside.extend(programs.iter().flat_map(|program| owners_of_maps(program)));
        self.aside.push(programs);
    }

    /// True of what needs maps of one that was put aside, and of what is an owner's whose readers failed too often.
    fn has_to_wait(&self, programs: &[Arc<ProgramRecord>]) -> bool {
        let failed = |program: &ProgramRecord| {
            let failures = counted(program).and_then(|owner| self.failures.get(&owner));
            failures.is_some_and(|failures| *failures >= FAILURES_OF_AN_OWNER)
        };
        programs.iter().any(|program| {
            failed(program) || owners_of_maps(program).any(|owner| self.maps_aside.contains(&owner))
        })
    }
}

/// For whom the failure of a program's reader counts, if for anybody. Applications of one namespace count together: they are
/// as many as their authors like.
fn counted(program: &ProgramRecord) -> Option<Owner> {
    match program.owner() {
        Owner::Root => None,
        Owner::Application(OwningApplication { namespace: Some(namespace), .. }) => {
            let (namespace, name) = (Some(namespace), String::new());
            Some(Owner::Application(OwningApplication { namespace, name }))
        }
        owner => Some(owner),
    }
}

/// Itself, and whose maps it shares. Those who share maps of an owner that is gone take them of the first among them.
fn owners_of_maps(program: &ProgramRecord) -> impl Iterator<Item = ProgramUid> + use<> {
    [Some(program.uid), program.map_owner_uid].into_iter().flatten()
}

impl<K: Kernel> Engine<K> {
    /// Loads programs again, one load after the other. Answers those that came back.
    pub(super) fn reload_all(
        &self,
        lost: Vec<Vec<Arc<ProgramRecord>>>,
        report: &mut RecoveryReport,
    ) -> HashSet<ProgramUid> {
        let mut reloads = Reloads::default();
        for programs in lost {
            if reloads.has_to_wait(&programs) {
                reloads.put_aside(programs);
            } else {
                self.reload_in(programs, Pass::First, &mut reloads, report);
            }
        }
        for programs in mem::take(&mut reloads.aside) {
            self.reload_in(programs, Pass::Second, &mut reloads, report);
        }
        reloads.reloaded
    }

    fn reload_in(
        &self,
        programs: Vec<Arc<ProgramRecord>>,
        pass: Pass,
        reloads: &mut Reloads,
        report: &mut RecoveryReport,
    ) {
        let names = programs.iter().map(|program| program.name.as_str()).collect::<Vec<_>>().join(", ");
        match self.reload(&programs, pass, &mut reloads.renewed) {
            Ok(placed) => {
                report.reloaded += programs.len();
                reloads.reloaded.extend(programs.iter().map(|program| program.uid));
                // They run and are recorded: the next start moves their pins, and nobody waits for that.
                report.note(format!("moving the pins of {names} into place"), placed);
            }
            Err(error) if pass == Pass::First && is_readers(&error) => {
                tracing::warn!(%error, programs = %names, "loading them again is put off until all others are back");
                if let Some(owner) = programs.first().and_then(|first| counted(first)) {
                    *reloads.failures.entry(owner).or_default() += 1;
                }
                reloads.put_aside(programs);
            }
            Err(error) => {
                report.problems.push(format!("loading {names} again: {error}"));
                self.state().lost.extend(programs.iter().map(|program| program.uid));
            }
        }
    }
}

/// True if it is the reader that failed.
fn is_readers(error: &EngineError) -> bool {
    match error {
        EngineError::Reader(_) => true,
        EngineError::NotUndone { cause, .. } => is_readers(cause),
        _ => false,
    }
}
