//! Programs of another boot that could not be loaded again.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bpfmand_core::{MapId, OperationId, ProgramUid};

/// Maps that were made again at this start: by the load that they came from, their name, and their former id.
pub type Renewed = HashMap<(OperationId, String, MapId), MapId>;

/// Shortest time between two tries to load a program again.
const MIN_PAUSE: Duration = Duration::from_secs(20);
/// Longest time. What a program lacks is mostly a kernel module, whose load is another reason to try.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// The reason for which a program is lost, and the time of the next try.
#[derive(Clone, Debug)]
struct LostProgram {
    why: String,
    /// Time since boot of the next try; none before the first look.
    again_at: Option<Duration>,
    pause: Duration,
    /// The kernel modules that were loaded at the last try.
    modules: BTreeSet<String>,
}

/// Programs of another boot that could not be loaded again: the ids of their records may be those of others now.
#[derive(Debug, Default)]
pub struct LostPrograms {
    all: HashMap<ProgramUid, LostProgram>,
    /// Maps of other programs of their loads.
    pub renewed: Renewed,
}

impl LostPrograms {
    /// Returns whether a program is lost.
    pub fn contains(&self, uid: &ProgramUid) -> bool {
        self.all.contains_key(uid)
    }

    /// Returns whether none is.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns how many are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns the reason of the last failure.
    pub fn why(&self, uid: &ProgramUid) -> Option<String> {
        self.all.get(uid).map(|lost| lost.why.clone())
    }

    /// Adds programs of one load, which failed at the start.
    pub fn add(&mut self, programs: impl IntoIterator<Item = ProgramUid>, why: &str) {
        for uid in programs {
            let (why, modules) = (why.to_owned(), BTreeSet::new());
            self.all.insert(uid, LostProgram { why, again_at: None, pause: MIN_PAUSE, modules });
        }
    }

    /// Forgets a program, which is loaded or ended.
    pub fn remove(&mut self, uid: &ProgramUid) {
        self.all.remove(uid);
    }

    /// Returns those that are to be tried now: their time has come, or other kernel modules are loaded than at their last try.
    pub fn due(&mut self, now: Duration, modules: &BTreeSet<String>) -> BTreeSet<ProgramUid> {
        let mut due = BTreeSet::new();
        for (uid, lost) in &mut self.all {
            match lost.again_at {
                // The start has tried it a moment ago.
                None => {
                    lost.again_at = Some(now + lost.pause);
                    lost.modules.clone_from(modules);
                }
                Some(at) if now >= at || lost.modules != *modules => {
                    due.insert(*uid);
                }
                Some(_) => {}
            }
        }
        due
    }

    /// Notes that programs failed again. Each pause is twice as long as the one before.
    pub fn failed_again(
        &mut self,
        programs: impl IntoIterator<Item = ProgramUid>,
        why: &str,
        now: Duration,
        modules: &BTreeSet<String>,
    ) {
        for uid in programs {
            let Some(lost) = self.all.get_mut(&uid) else { continue };
            lost.pause = (lost.pause * 2).min(MAX_PAUSE);
            lost.again_at = Some(now + lost.pause);
            why.clone_into(&mut lost.why);
            lost.modules.clone_from(modules);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_modules_end_them() {
        let (uid, second) = (ProgramUid(1), Duration::from_secs(1));
        let none = BTreeSet::new();
        let some = BTreeSet::from(["dummy".to_owned()]);
        let mut lost = LostPrograms::default();
        lost.add([uid], "no function");
        assert!(lost.due(second, &none).is_empty(), "the start has just tried it");
        assert!(lost.due(second * 20, &none).is_empty());
        assert!(lost.due(second * 21, &none).contains(&uid));
        lost.failed_again([uid], "still none", second * 21, &none);
        assert_eq!(lost.why(&uid).as_deref(), Some("still none"));
        assert!(lost.due(second * 60, &none).is_empty(), "40 seconds");
        assert!(lost.due(second * 60, &some).contains(&uid), "a module");
        for _ in 0..10 {
            lost.failed_again([uid], "still none", second * 100, &some);
        }
        assert!(lost.due(second * 399, &some).is_empty() && !lost.due(second * 400, &some).is_empty());
    }
}
