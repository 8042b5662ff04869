//! A session: who it is, and ids of what its command made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bpfman_model::{Owner, Peer};
use bpfmand_access::GrantLimits;
use bpfmand_calls::ObjectKind;

use serde::{Deserialize, Serialize};

use crate::lasting::LastingAttachment;
use crate::record::{IdRecord, SessionRecord};

/// Maximum number of objects of one kind that a session has at a time.
const MAX_OBJECTS: usize = 4096;

/// A program as its command loaded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawProgram {
    /// Kernel's number of the type.
    pub program_type: u32,
    /// Kernel's number of the type of attachment that it was loaded for.
    pub attach_type: u32,
}

/// Facts about a session that do not change.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Name.
    pub name: String,
    /// Client, as it was at the start.
    pub peer: Peer,
    /// Grant that alone counts; `None` for all of the client's.
    pub grant: Option<String>,
    /// Owner of what the command makes.
    pub owner: Owner,
    /// Limits of the owner.
    pub limits: GrantLimits,
    /// Start.
    pub started: SystemTime,
    /// Process of the receiver.
    pub receiver: u32,
}

/// Ids of the objects of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionObjects {
    ids: BTreeMap<ObjectKind, BTreeSet<u32>>,
    programs: BTreeMap<u32, RawProgram>,
}

impl SessionObjects {
    fn add(&mut self, IdRecord { kind, id, program }: IdRecord) {
        self.ids.entry(kind).or_default().insert(id);
        if let Some(program) = program {
            self.programs.insert(id, program);
        }
    }

    /// Returns the ids of one kind.
    pub fn ids(&self, kind: ObjectKind) -> impl Iterator<Item = u32> + '_ {
        self.ids.get(&kind).into_iter().flatten().copied()
    }
}

/// A session that runs.
#[derive(Debug)]
pub struct BrokeredSession {
    pub facts: SessionFacts,
    objects: Mutex<SessionObjects>,
    lasting: Mutex<Vec<LastingAttachment>>,
    /// Its files; `None` in tests.
    record: Option<SessionRecord>,
}

impl BrokeredSession {
    pub fn new(facts: SessionFacts, record: Option<SessionRecord>, known: Vec<IdRecord>) -> Self {
        let mut objects = SessionObjects::default();
        known.into_iter().for_each(|one| objects.add(one));
        Self { facts, objects: Mutex::new(objects), lasting: Mutex::default(), record }
    }

    /// Removes the files of a session that has ended.
    pub fn remove_record(&self) {
        self.record.iter().for_each(SessionRecord::remove);
    }

    pub(crate) fn lasting(&self) -> MutexGuard<'_, Vec<LastingAttachment>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn objects(&self) -> MutexGuard<'_, SessionObjects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn has(&self, kind: ObjectKind, id: u32) -> bool {
        self.objects().ids.get(&kind).is_some_and(|ids| ids.contains(&id))
    }

    /// Remembers an object, also over the end of the daemon.
    pub fn remember(&self, kind: ObjectKind, id: u32, program: Option<RawProgram>) {
        let one = IdRecord { kind, id, program };
        if let Some(Err(error)) = self.record.as_ref().map(|record| record.add(&one)) {
            tracing::warn!(%error, session = self.facts.name, "an object is not recorded");
        }
        self.objects().add(one);
    }

    pub fn forget(&self, kind: ObjectKind, id: u32) {
        let mut objects = self.objects();
        if let Some(ids) = objects.ids.get_mut(&kind) {
            ids.remove(&id);
        }
        if kind == ObjectKind::Program {
            objects.programs.remove(&id);
        }
    }

    pub fn program(&self, id: u32) -> Option<RawProgram> {
        self.objects().programs.get(&id).copied()
    }

    /// Returns the smallest id of the session above another one that still exists.
    pub fn next_id(&self, kind: ObjectKind, after: u32, exists: impl Fn(u32) -> bool) -> Option<u32> {
        loop {
            let next = self.objects().ids.get(&kind)?.range(after.checked_add(1)?..).next().copied()?;
            if exists(next) {
                return Some(next);
            }
            self.forget(kind, next);
        }
    }

    /// Returns the number of known objects of a kind.
    pub fn count(&self, kind: ObjectKind) -> usize {
        self.objects().ids.get(&kind).map_or(0, BTreeSet::len)
    }

    /// Returns whether the session may have another object, without those that are gone, where other sessions of its owner
    /// have so many.
    pub fn make_room(&self, kind: ObjectKind, others: usize, exists: impl Fn(u32) -> bool) -> bool {
        let limit = match kind {
            ObjectKind::Program => self.facts.limits.programs,
            ObjectKind::Link => self.facts.limits.links,
            ObjectKind::Map | ObjectKind::Btf => None,
        };
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let most = MAX_OBJECTS.min(limit.saturating_sub(others));
        if self.count(kind) < most {
            return true;
        }
        let known: Vec<u32> = self.objects().ids(kind).collect();
        let gone: Vec<u32> = known.iter().copied().filter(|id| !exists(*id)).collect();
        gone.iter().for_each(|id| self.forget(kind, *id));
        known.len() - gone.len() < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(programs: Option<u64>) -> BrokeredSession {
        BrokeredSession::new(
            SessionFacts {
                name: "1".to_owned(),
                peer: Peer::default(),
                grant: None,
                owner: Owner::User(1000),
                limits: GrantLimits { programs, ..GrantLimits::default() },
                started: SystemTime::UNIX_EPOCH,
                receiver: 1,
            },
            None,
            Vec::new(),
        )
    }

    #[test]
    fn ids_that_are_gone_are_left_out() {
        let session = session(None);
        [3, 5, 9].into_iter().for_each(|id| session.remember(ObjectKind::Map, id, None));
        let next = |after| session.next_id(ObjectKind::Map, after, |id| id != 5);
        assert_eq!([next(0), next(3), next(9), next(u32::MAX)], [Some(3), Some(9), None, None]);
        assert!(!session.has(ObjectKind::Map, 5) && session.has(ObjectKind::Map, 9));
        assert!(!session.has(ObjectKind::Program, 9));
    }

    #[test]
    fn limit_counts_programs_that_exist() {
        let session = session(Some(2));
        [1, 2].into_iter().for_each(|id| session.remember(ObjectKind::Program, id, None));
        assert!(!session.make_room(ObjectKind::Program, 0, |_| true));
        assert!(session.make_room(ObjectKind::Link, 0, |_| true));
        assert!(!session.make_room(ObjectKind::Program, 1, |id| id == 2));
        assert!(session.make_room(ObjectKind::Program, 0, |id| id == 2));
    }
}
