//! Locks for the objects that operations must not change at the same time.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bpfmand_core::{CountedDurations, DurationCounts, HookKey, NetnsId, ProgramUid};

/// Lockable object. An operation takes its locks in this order, and programs by ascending uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Map memory of one owner, by the hash of the owner.
    MapMemory(u64),
    /// Maps that are shared by name.
    SharedMaps,
    /// A program: held to attach, detach or unload it, or to share its maps.
    Program(ProgramUid),
    /// A hook: held to change its chain. Tcx links and the tc chain share a lock, because the kernel keeps one list.
    Hook(HookKey),
    /// A network namespace: held until its new number and its programs are recorded, and to release the number.
    Namespace(NetnsId),
    /// Chains of one composition: held to find or load one. Never held together with another lock of this kind.
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

/// Table of the locks that are held.
#[derive(Debug, Default)]
pub struct Locks {
    held: Mutex<HashSet<Subject>>,
    released: Condvar,
    /// Wait times of the callers that had to wait.
    waits: DurationCounts,
}

#[derive(Debug)]
pub struct Guard {
    locks: Arc<Locks>,
    subject: Subject,
}

impl Locks {
    /// Takes a lock if it is free; `None` otherwise.
    pub fn try_take(self: &Arc<Self>, subject: Subject) -> Option<Guard> {
        let subject = subject.as_locked();
        self.guard().insert(subject).then(|| Guard { locks: Arc::clone(self), subject })
    }

    /// Waits for a lock and takes it.
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

    /// Returns the wait times of the callers that had to wait.
    pub fn waits(&self) -> CountedDurations {
        self.waits.counted()
    }

    /// Ignores poisoning: every change of the table is one insertion or removal, so a panic leaves it consistent.
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
