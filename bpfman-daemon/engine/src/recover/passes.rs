//! Loads programs again in two passes, so that one owner's slow objects do not delay those of others: the first defers
//! objects whose reader fails, and the rest of a slow owner. The second tries these within a shared time limit.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bpfman_model::{Owner, OwningApplication, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::RecoveryReport;
use crate::state::Renewed;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// Reader time per owner after which the owner's remaining objects are deferred unread. Root is exempt: one bad file
/// would leave hundreds of others of root to share the remaining time.
const OF_AN_OWNER: Duration = Duration::from_secs(9);
const OF_A_FAILURE: Duration = Duration::from_secs(3);
/// Reader time that does not count for a successful reader. Most objects take less; crafted ones take more.
const FREE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    First,
    /// Second pass: deferred objects, which share the rest of the time limit.
    Second,
}

#[derive(Default)]
struct Reloads {
    reloaded: HashSet<ProgramUid>,
    renewed: Renewed,
    aside: Vec<Vec<Arc<ProgramRecord>>>,
    maps_aside: HashSet<ProgramUid>,
    slow: HashMap<Owner, Duration>,
}

impl Reloads {
    fn put_aside(&mut self, programs: Vec<Arc<ProgramRecord>>) {
        self.maps_aside.extend(programs.iter().flat_map(|program| owners_of_maps(program)));
        self.aside.push(programs);
    }

    fn count(&mut self, programs: &[Arc<ProgramRecord>], time: Duration) {
        if let Some(owner) = programs.first().and_then(|first| counted(first)) {
            *self.slow.entry(owner).or_default() += time;
        }
    }

    fn slowness(&self, program: &ProgramRecord) -> Duration {
        counted(program).and_then(|owner| self.slow.get(&owner).copied()).unwrap_or_default()
    }

    /// Returns whether a load needs maps of a deferred load, or belongs to a slow owner.
    fn has_to_wait(&self, programs: &[Arc<ProgramRecord>]) -> bool {
        programs.iter().any(|program| {
            self.slowness(program) >= OF_AN_OWNER
                || owners_of_maps(program).any(|owner| self.maps_aside.contains(&owner))
        })
    }

    /// Returns the deferred loads, those of owners with the least reader time first. A load comes after those whose
    /// maps it needs, and after earlier sharers of these maps, which provide them if the owner is gone.
    fn take_aside(&mut self) -> Vec<Vec<Arc<ProgramRecord>>> {
        let aside = mem::take(&mut self.aside);
        let mut ranks = HashMap::<ProgramUid, Duration>::new();
        let mut ranked = Vec::with_capacity(aside.len());
        for programs in aside {
            let maps: HashSet<_> = programs.iter().flat_map(|program| owners_of_maps(program)).collect();
            let needed = maps.iter().filter_map(|uid| ranks.get(uid).copied());
            let own = programs.iter().map(|program| self.slowness(program));
            let rank = needed.chain(own).max().unwrap_or_default();
            ranks.extend(maps.into_iter().map(|uid| (uid, rank)));
            ranked.push((rank, programs));
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, programs)| programs).collect()
    }
}

/// Returns the charged owner. Applications of one namespace count together: their number is not limited.
fn counted(program: &ProgramRecord) -> Option<Owner> {
    match program.owner() {
        Owner::Root => None,
        Owner::Application(OwningApplication { namespace: Some(namespace), .. }) => {
            Some(Owner::Application(OwningApplication { namespace: Some(namespace), name: None }))
        }
        owner => Some(owner),
    }
}

/// Returns the programs that tie loads together: itself, its map owner (also a removed one), the extended one.
fn owners_of_maps(program: &ProgramRecord) -> impl Iterator<Item = ProgramUid> + use<> {
    [Some(program.uid), program.map_owner_uid, program.extended()].into_iter().flatten()
}

impl<K: Kernel> Engine<K> {
    pub(super) fn reload_all(
        &self,
        lost: Vec<Vec<Arc<ProgramRecord>>>,
        report: &mut RecoveryReport,
    ) -> HashSet<ProgramUid> {
        let mut reloads = Reloads::default();
        let all: usize = lost.iter().map(Vec::len).sum();
        let tell = |report: &RecoveryReport, failed: usize| {
            self.options.observer.recovered("programs loaded again", report.reloaded + failed, all);
        };
        tell(report, 0);
        for programs in lost {
            if reloads.has_to_wait(&programs) {
                reloads.put_aside(programs);
            } else {
                self.reload_in(programs, Pass::First, &mut reloads, report);
                tell(report, self.state().lost.len());
            }
        }
        for programs in reloads.take_aside() {
            self.reload_in(programs, Pass::Second, &mut reloads, report);
            tell(report, self.state().lost.len());
        }
        // Programs of these loads that are retried later share maps with the others.
        self.state().lost.renewed = reloads.renewed;
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
        let began = self.kernel.now();
        let read = self.read_lost(&programs, pass);
        let took = match (began, self.kernel.now()) {
            (Ok(began), Ok(now)) => now.since_boot.saturating_sub(began.since_boot),
            _ => Duration::ZERO,
        };
        // Also charge a reader that reports a defect of its object only after a long time.
        let counted = match &read {
            Err(error) if is_readers(error) => took.max(OF_A_FAILURE),
            _ => took.saturating_sub(FREE),
        };
        reloads.count(&programs, counted);
        let loaded = read.and_then(|object| {
            let placed = self.reload(&programs, &object, &mut reloads.renewed)?;
            self.note_empty_slots(&programs, &object, &mut report.problems);
            Ok(placed)
        });
        match loaded {
            Ok(placed) => {
                report.reloaded += programs.len();
                reloads.reloaded.extend(programs.iter().map(|program| program.uid));
                // The programs run and are recorded: the next start moves their pins.
                report.note(format!("moving the pins of {names} into place"), placed);
            }
            Err(error) if pass == Pass::First && is_readers(&error) => {
                tracing::warn!(%error, programs = %names, "loading them again is put off until all others are back");
                reloads.put_aside(programs);
            }
            Err(error) => {
                report.problems.push(format!("loading {names} again: {error}"));
                self.state().lost.add(programs.iter().map(|program| program.uid), &error.to_string());
            }
        }
    }
}

fn is_readers(error: &EngineError) -> bool {
    match error {
        EngineError::Reader(_) => true,
        EngineError::NotUndone { cause, .. } => is_readers(cause),
        _ => false,
    }
}
