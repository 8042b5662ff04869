//! A session: its client, and the ids of the objects that its command made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use bpfman_model::{Owner, Peer};
use bpfmand_access::GrantLimits;
use bpfmand_calls::ObjectKind;

use serde::{Deserialize, Serialize};

use crate::admission::AdmittedCommand;
use crate::ids::exists;
use crate::lasting::{LastingAttachment, LastingRecord};
use crate::map_maker::MapMaker;
use crate::record::{IdRecord, RecordLine, SessionRecord};

/// Maximum number of objects of one kind that a session has at a time.
pub const MAX_OBJECTS: usize = 4096;

/// Types of a program, as its command loaded it.
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
    pub name: String,
    /// Client, as it was at the start.
    pub peer: Peer,
    /// The only grant that the session uses; `None`: all grants of the client.
    pub grant: Option<String>,
    /// systemd unit of the client.
    pub unit: Option<String>,
    pub started: SystemTime,
    pub receiver: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionObjects {
    ids: BTreeMap<ObjectKind, BTreeSet<u32>>,
    programs: BTreeMap<u32, RawProgram>,
    /// Memory of each map when full, and size of each types object (BTF), in bytes.
    bytes: BTreeMap<(ObjectKind, u32), u64>,
}

impl SessionObjects {
    fn add(&mut self, IdRecord { kind, id, program, bytes }: IdRecord) {
        if bytes > 0 {
            self.bytes.insert((kind, id), bytes);
        }
        self.ids.entry(kind).or_default().insert(id);
        if let Some(program) = program {
            self.programs.insert(id, program);
        }
    }

    pub fn ids(&self, kind: ObjectKind) -> impl Iterator<Item = u32> + '_ {
        self.ids.get(&kind).into_iter().flatten().copied()
    }
}

#[derive(Debug)]
pub struct BrokeredSession {
    pub facts: SessionFacts,
    command: OnceLock<AdmittedCommand>,
    objects: Mutex<SessionObjects>,
    lasting: Mutex<Vec<LastingAttachment>>,
    /// Attachments that stay after the command.
    left: Mutex<Vec<LastingRecord>>,
    /// Numbers of calls that were made, and of calls that were refused with a reason.
    granted: AtomicU64,
    refused: AtomicU64,
    /// True once a call waited for its owner's rate.
    waited: AtomicBool,
    /// `None` in tests, like the record.
    pub map_maker: Option<MapMaker>,
    /// Files of the session; `None` in tests.
    record: Option<SessionRecord>,
}

impl BrokeredSession {
    pub fn new(facts: SessionFacts, record: Option<SessionRecord>) -> Self {
        Self {
            facts,
            command: OnceLock::new(),
            objects: Mutex::default(),
            lasting: Mutex::default(),
            left: Mutex::default(),
            granted: AtomicU64::default(),
            refused: AtomicU64::default(),
            waited: AtomicBool::default(),
            map_maker: record.as_ref().map(SessionRecord::map_maker),
            record,
        }
    }

    /// Creates a session of an earlier daemon, with the attachments that its record does not list as removed.
    pub fn of_record(facts: SessionFacts, record: SessionRecord, lines: Vec<RecordLine>) -> Self {
        let this = Self::new(facts, Some(record));
        let (mut command, mut left) = (None, Vec::new());
        for line in lines {
            match line {
                RecordLine::Object(one) => this.objects().add(one),
                RecordLine::Command { command: one } => command = Some(one),
                RecordLine::Attached { attached } => left.push(attached),
                RecordLine::Detached { detached } => left.retain(|one| *one != detached),
            }
        }
        // Records of earlier versions have no command.
        let owner = Owner::of_user(this.facts.peer.uid);
        this.command
            .get_or_init(|| command.unwrap_or(AdmittedCommand { owner, ..AdmittedCommand::default() }));
        *this.left() = left;
        this
    }

    /// Records the command of the session, which does not change.
    pub fn begin(&self, command: AdmittedCommand) {
        self.write(&RecordLine::Command { command: command.clone() });
        self.command.get_or_init(|| command);
    }

    pub fn command(&self) -> Option<&AdmittedCommand> {
        self.command.get()
    }

    pub fn owner(&self) -> Owner {
        self.command().map_or(Owner::of_user(self.facts.peer.uid), |command| command.owner.clone())
    }

    pub fn limits(&self) -> GrantLimits {
        self.command().map(|command| command.limits).unwrap_or_default()
    }

    pub fn keeps(&self) -> bool {
        self.command().is_some_and(|command| command.keep)
    }

    /// Returns whether the client records what its command loads.
    pub fn records(&self) -> bool {
        self.command().is_some_and(|command| command.file.records)
    }

    pub fn count_call(&self, is_refused: bool) {
        let count = if is_refused { &self.refused } else { &self.granted };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub fn calls(&self) -> (u64, u64) {
        (self.granted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Notes that a call waits for the owner's rate. Returns true for the first one of the session.
    pub fn waits_first(&self) -> bool {
        !self.waited.swap(true, Ordering::Relaxed)
    }

    pub fn write(&self, line: &RecordLine) {
        let written = self.record.as_ref().map(|record| record.add(line, || self.known_lines()));
        if let Some(Err(error)) = written {
            tracing::warn!(%error, session = self.facts.name, ?line, "an object is not recorded");
        }
    }

    /// Returns the lines from which a new daemon continues the session.
    fn known_lines(&self) -> Vec<RecordLine> {
        for kind in [ObjectKind::Program, ObjectKind::Map, ObjectKind::Btf, ObjectKind::Link] {
            self.forget_gone(kind, |id| exists(kind, id));
        }
        let command = self.command().map(|command| RecordLine::Command { command: command.clone() });
        let objects = self.objects();
        let known = objects.ids.iter().flat_map(|(kind, ids)| ids.iter().map(|id| (*kind, *id)));
        let known = known.map(|(kind, id)| {
            let program = objects.programs.get(&id).copied().filter(|_| kind == ObjectKind::Program);
            let bytes = objects.bytes.get(&(kind, id)).copied().unwrap_or_default();
            RecordLine::Object(IdRecord { kind, id, program, bytes })
        });
        let attached = self
            .lasting()
            .iter()
            .map(|one| RecordLine::Attached { attached: one.record().clone() })
            .collect::<Vec<_>>();
        command.into_iter().chain(known).chain(attached).collect()
    }

    pub fn left(&self) -> MutexGuard<'_, Vec<LastingRecord>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Remembers an object, in memory and in the record.
    pub fn remember(&self, kind: ObjectKind, id: u32, program: Option<RawProgram>, bytes: u64) {
        let one = IdRecord { kind, id, program, bytes };
        // Add it first: writing the line may replace the record by one of the known objects.
        self.objects().add(one);
        self.write(&RecordLine::Object(one));
    }

    pub fn forget(&self, kind: ObjectKind, id: u32) {
        let mut objects = self.objects();
        if let Some(ids) = objects.ids.get_mut(&kind) {
            ids.remove(&id);
        }
        objects.bytes.remove(&(kind, id));
        if kind == ObjectKind::Program {
            objects.programs.remove(&id);
        }
    }

    pub fn program(&self, id: u32) -> Option<RawProgram> {
        self.objects().programs.get(&id).copied()
    }

    /// Returns the session's smallest id above `after` whose object exists.
    pub fn next_id(&self, kind: ObjectKind, after: u32, exists: impl Fn(u32) -> bool) -> Option<u32> {
        loop {
            let next = self.objects().ids.get(&kind)?.range(after.checked_add(1)?..).next().copied()?;
            if exists(next) {
                return Some(next);
            }
            self.forget(kind, next);
        }
    }

    pub fn count(&self, kind: ObjectKind) -> usize {
        self.objects().ids.get(&kind).map_or(0, BTreeSet::len)
    }

    /// Returns the memory of the known maps or types, in bytes.
    pub fn bytes(&self, kind: ObjectKind) -> u64 {
        let objects = self.objects();
        let of_kind = objects.bytes.range((kind, 0)..=(kind, u32::MAX));
        of_kind.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    pub fn forget_gone(&self, kind: ObjectKind, exists: impl Fn(u32) -> bool) {
        let known: Vec<u32> = self.objects().ids(kind).collect();
        known.into_iter().filter(|id| !exists(*id)).for_each(|id| self.forget(kind, id));
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use super::*;

    pub fn session() -> Arc<BrokeredSession> {
        let facts = SessionFacts {
            name: "1".to_owned(),
            peer: Peer::default(),
            grant: None,
            unit: None,
            started: SystemTime::UNIX_EPOCH,
            receiver: 1,
        };
        Arc::new(BrokeredSession::new(facts, None))
    }

    #[test]
    fn ids_that_are_gone_are_left_out() {
        let session = session();
        [3, 5, 9].into_iter().for_each(|id| session.remember(ObjectKind::Map, id, None, 100));
        let next = |after| session.next_id(ObjectKind::Map, after, |id| id != 5);
        assert_eq!([next(0), next(3), next(9), next(u32::MAX)], [Some(3), Some(9), None, None]);
        assert!(!session.has(ObjectKind::Map, 5) && session.has(ObjectKind::Map, 9));
        assert!(!session.has(ObjectKind::Program, 9));
        assert_eq!(session.bytes(ObjectKind::Map), 200);
        session.forget_gone(ObjectKind::Map, |id| id == 9);
        assert_eq!((session.count(ObjectKind::Map), session.bytes(ObjectKind::Map)), (1, 100));
    }
}
