//! Programs are loaded again in two passes, so that nobody's object makes everybody else's programs wait.
//!
//! In the first, an object whose reader fails is put aside, and what is left of an owner whose readers took long. Those are
//! tried after all others, within a time that they have together. What fails then is tried again while the daemon runs.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bpfmand_core::{Owner, OwningApplication, ProgramUid};
use bpfmand_kernel::Kernel;

use crate::engine::RecoveryReport;
use crate::state::Renewed;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError};

/// How long readers may keep the start waiting with one owner's objects before the rest of what is this owner's is put
/// aside unread: an owner has as many objects as it likes. Root's are not counted: with one bad file its hundreds of others
/// would have to share what time is left.
const OF_AN_OWNER: Duration = Duration::from_secs(9);
/// What is counted of a reader that fails, however soon.
const OF_A_FAILURE: Duration = Duration::from_secs(3);
/// What is not counted of a reader that answers. Most objects take less; the largest take more, as those do that are made
/// for it, so that an owner of many such has to wait.
const FREE: Duration = Duration::from_millis(500);

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
    /// Whose objects kept the start waiting, and for how long.
    slow: HashMap<Owner, Duration>,
}

impl Reloads {
    fn put_aside(&mut self, programs: Vec<Arc<ProgramRecord>>) {
        self.maps_aside.extend(programs.iter().flat_map(|program| owners_of_maps(program)));
        self.aside.push(programs);
    }

    /// The reader of a load kept the start waiting.
    fn count(&mut self, programs: &[Arc<ProgramRecord>], time: Duration) {
        if let Some(owner) = programs.first().and_then(|first| counted(first)) {
            *self.slow.entry(owner).or_default() += time;
        }
    }

    /// For how long those of a program's owner did.
    fn slowness(&self, program: &ProgramRecord) -> Duration {
        counted(program).and_then(|owner| self.slow.get(&owner).copied()).unwrap_or_default()
    }

    /// True of what needs maps of one that was put aside, and of what is an owner's whose readers took too long.
    fn has_to_wait(&self, programs: &[Arc<ProgramRecord>]) -> bool {
        programs.iter().any(|program| {
            self.slowness(program) >= OF_AN_OWNER
                || owners_of_maps(program).any(|owner| self.maps_aside.contains(&owner))
        })
    }

    /// What was put aside, in the order for the second pass: owners who had others wait least come first, so that the
    /// others do not take the time that there is. No load comes before one whose maps it needs, nor before another that
    /// shares them and stood before it: that one gives them away where their owner is gone.
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
        // Keeps the order of those of one rank.
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, programs)| programs).collect()
    }
}

/// For whom the time of a program's reader counts, if for anybody. Applications of one namespace count together: they are
/// as many as their authors like.
fn counted(program: &ProgramRecord) -> Option<Owner> {
    match program.owner() {
        Owner::Root => None,
        Owner::Application(OwningApplication { namespace: Some(namespace), .. }) => {
            Some(Owner::Application(OwningApplication { namespace: Some(namespace), name: None }))
        }
        owner => Some(owner),
    }
}

/// Itself, what it extends, and whose maps it shares. Those who share maps of an owner that is gone take them of the first among them.
fn owners_of_maps(program: &ProgramRecord) -> impl Iterator<Item = ProgramUid> + use<> {
    [Some(program.uid), program.map_owner_uid, program.extended()].into_iter().flatten()
}

impl<K: Kernel> Engine<K> {
    /// Loads programs again, one load after the other. Answers those that came back.
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
        // Programs of these loads that are tried again later share maps with the others.
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
        // Also of one that says that something is wrong with its object, and takes its time to say so.
        let counted = match &read {
            Err(error) if is_readers(error) => took.max(OF_A_FAILURE),
            _ => took.saturating_sub(FREE),
        };
        reloads.count(&programs, counted);
        match read.and_then(|object| self.reload(&programs, &object, &mut reloads.renewed)) {
            Ok(placed) => {
                report.reloaded += programs.len();
                reloads.reloaded.extend(programs.iter().map(|program| program.uid));
                // They run and are recorded: the next start moves their pins, and nobody waits for that.
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

/// True if it is the reader that failed.
fn is_readers(error: &EngineError) -> bool {
    match error {
        EngineError::Reader(_) => true,
        EngineError::NotUndone { cause, .. } => is_readers(cause),
        _ => false,
    }
}
