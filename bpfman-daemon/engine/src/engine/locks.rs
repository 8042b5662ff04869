//! One lock for each thing that operations must not change at the same time.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bpfmand_core::{CountedDurations, DurationCounts, HookKey, NetnsId, ProgramUid};

/// What can be locked. An operation takes them in this order, and programs by ascending uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Memory of the maps of one owner, by its hash.
    MapMemory(u64),
    /// Maps that are shared by name.
    SharedMaps,
    /// A program: held by whoever attaches, detaches or unloads it, or shares its maps.
    Program(ProgramUid),
    /// A hook: held by whoever changes its chain. One of tcx links is locked together with that of the tc chain, which
    /// the kernel keeps in the same list.
    Hook(HookKey),
    /// A network namespace: held from its number until what runs there is recorded, and while its number is forgotten.
    Namespace(NetnsId),
    /// Chains of one composition: held by whoever looks for one and loads it if there is none. Never together with
    /// another of these.
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

/// The locks that are held now.
#[derive(Debug, Default)]
pub struct Locks {
    held: Mutex<HashSet<Subject>>,
    released: Condvar,
    /// Of those who had to wait.
    waits: DurationCounts,
}

/// A held lock.
#[derive(Debug)]
pub struct Guard {
    locks: Arc<Locks>,
    subject: Subject,
}

impl Locks {
    /// Takes a lock that is free; none if it is held.
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

    /// How long those waited who had to.
    pub fn waits(&self) -> CountedDurations {
        self.waits.counted()
    }

    /// A panic while the table was locked leaves it whole: every change of it is one insertion or removal.
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
