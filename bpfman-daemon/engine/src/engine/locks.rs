//! Locks for the objects that operations must not change at the same time.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bpfman_model::{CountedDurations, DurationCounts, HookKey, LinkId, NetnsId, ProgramId, ProgramUid};
use bpfmand_kernel::Kernel;

use super::Engine;
use crate::EngineError;
use crate::state::records::{LinkRecord, ProgramRecord};

/// Lockable object. An operation takes its locks in this order, and programs by ascending uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    MapMemory(u64),
    SharedMaps,
    /// Held to attach, detach or unload a program, or to share its maps.
    Program(ProgramUid),
    /// Held to change a chain. Tcx links and the tc chain share a lock, because the kernel keeps one list.
    Hook(HookKey),
    /// Held until the namespace's new number and programs are recorded, and to release the number.
    Namespace(NetnsId),
    /// Held to find or load a chain. Never held together with another lock of this kind.
    Composition(u64),
}

impl Subject {
    const fn as_locked(self) -> Self {
        match self {
            Self::Hook(key) => Self::Hook(key.of_chain()),
            other => other,
        }
    }
}

#[derive(Debug, Default)]
pub struct Locks {
    held: Mutex<HashSet<Subject>>,
    released: Condvar,
    waits: DurationCounts,
}

#[derive(Debug)]
pub struct Guard {
    locks: Arc<Locks>,
    subject: Subject,
}

impl Locks {
    pub fn try_take(self: &Arc<Self>, subject: Subject) -> Option<Guard> {
        let subject = subject.as_locked();
        self.guard().insert(subject).then(|| Guard { locks: Arc::clone(self), subject })
    }

    pub fn take(self: &Arc<Self>, subject: Subject) -> Guard {
        let subject = subject.as_locked();
        let mut held = self.guard();
        let began = held.contains(&subject).then(Instant::now);
        while held.contains(&subject) {
            held = self.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(began) = began {
            self.waits.add(began.elapsed());
        }
        held.insert(subject);
        Guard { locks: Arc::clone(self), subject }
    }

    pub fn waits(&self) -> CountedDurations {
        self.waits.counted()
    }

    /// Ignores poisoning: every change of the table is one insertion or removal.
    fn guard(&self) -> MutexGuard<'_, HashSet<Subject>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.locks.guard().remove(&self.subject);
        self.locks.released.notify_all();
    }
}

impl<K: Kernel> Engine<K> {
    pub(crate) fn lock(&self, subject: Subject) -> Guard {
        self.locks.take(subject)
    }

    pub(crate) fn try_lock(&self, subject: Subject) -> Option<Guard> {
        self.locks.try_take(subject)
    }

    /// Locks several hooks, of which two may share one lock.
    pub(crate) fn lock_hooks<'a>(&self, hooks: impl IntoIterator<Item = &'a HookKey>) -> Vec<Guard> {
        let lists: BTreeSet<HookKey> = hooks.into_iter().map(|key| key.of_chain()).collect();
        lists.into_iter().map(|key| self.lock(Subject::Hook(key))).collect()
    }

    pub(crate) fn lock_program(&self, id: ProgramId) -> Result<(Guard, Arc<ProgramRecord>), EngineError> {
        self.admit_changes()?;
        let uid = self.state().by_id.get(&id).copied().ok_or(EngineError::NoProgram(id))?;
        let held = self.lock(Subject::Program(uid));
        let record = self.record(uid).ok_or(EngineError::NoProgram(id))?;
        Ok((held, record))
    }

    pub(crate) fn lock_link(&self, id: LinkId) -> Option<(Arc<LinkRecord>, Vec<Guard>)> {
        let find = || self.state().links.get(&id).cloned();
        let mut held = vec![self.lock(Subject::Program(find()?.program))];
        held.extend(find()?.hook.map(|key| self.lock(Subject::Hook(key))));
        Some((find()?, held))
    }

    pub(crate) fn lock_links(&self, programs: &[Arc<ProgramRecord>]) -> (Vec<Arc<LinkRecord>>, Vec<Guard>) {
        let links: Vec<_> = {
            let state = self.state();
            programs
                .iter()
                .flat_map(|program| state.links_of(program.uid).cloned().collect::<Vec<_>>())
                .collect()
        };
        let held = self.lock_hooks(links.iter().filter_map(|link| link.hook.as_ref()));
        (links, held)
    }
}
