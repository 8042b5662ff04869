//! Programs that could not be loaded again after a reboot.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bpfman_model::{MapId, OperationId, ProgramUid};

/// New ids of maps that this start created again, by the load of the map, its name and its former id.
pub type Renewed = HashMap<(OperationId, String, MapId), MapId>;

const MIN_PAUSE: Duration = Duration::from_secs(20);
/// Maximum pause between attempts to load a lost program. The load of a missing kernel module triggers one, too.
const MAX_PAUSE: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
struct LostProgram {
    why: String,
    /// Time since boot of the next attempt; `None` before the first check.
    again_at: Option<Duration>,
    pause: Duration,
    modules: BTreeSet<String>,
}

/// Programs that could not be loaded again: the kernel may have reused the ids in their records.
#[derive(Debug, Default)]
pub struct LostPrograms {
    all: HashMap<ProgramUid, LostProgram>,
    pub renewed: Renewed,
}

impl LostPrograms {
    pub fn contains(&self, uid: &ProgramUid) -> bool {
        self.all.contains_key(uid)
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn why(&self, uid: &ProgramUid) -> Option<String> {
        self.all.get(uid).map(|lost| lost.why.clone())
    }

    pub fn add(&mut self, programs: impl IntoIterator<Item = ProgramUid>, why: &str) {
        for uid in programs {
            let (why, modules) = (why.to_owned(), BTreeSet::new());
            self.all.insert(uid, LostProgram { why, again_at: None, pause: MIN_PAUSE, modules });
        }
    }

    pub fn remove(&mut self, uid: &ProgramUid) {
        self.all.remove(uid);
    }

    pub fn due(&mut self, now: Duration, modules: &BTreeSet<String>) -> BTreeSet<ProgramUid> {
        let mut due = BTreeSet::new();
        for (uid, lost) in &mut self.all {
            match lost.again_at {
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
