//! Locks for the objects that operations must not change at the same time.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bpfman_model::{CountedDurations, DurationCounts, HookKey, NetnsId, ProgramUid};

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
