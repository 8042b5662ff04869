//! Changes of records by one operation: collected, written in one durable step, then applied to memory.
//!
//! Only `Engine::commit` writes records and applies changes, so memory and disk cannot differ.

use std::sync::Arc;

use bpfman_model::{HookKey, LinkId, MatchingId, OperationId, ProgramUid};
use bpfmand_store::{Batch, Table};

use super::State;
use crate::EngineError;
use crate::state::records::{
    HookRecord, LeftoverRecord, LinkRecord, MatchingRecord, PreviousRecord, ProgramRecord,
};
use crate::state::{UnclearedLeftovers, encode, parse, records};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKey {
    Program(ProgramUid),
    Previous(ProgramUid),
    Link(LinkId),
    Hook(HookKey),
    Matching(MatchingId),
    Leftover(OperationId),
}

impl RecordKey {
    pub const fn table(self) -> Table {
        match self {
            Self::Program(_) => records::PROGRAMS,
            Self::Previous(_) => records::PREVIOUS,
            Self::Link(_) => records::LINKS,
            Self::Hook(_) => records::HOOKS,
            Self::Matching(_) => records::MATCHINGS,
            Self::Leftover(_) => records::LEFTOVERS,
        }
    }

    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Program(uid) | Self::Previous(uid) => uid.to_string().into_bytes(),
            Self::Link(id) => id.to_string().into_bytes(),
            Self::Hook(key) => records::hook_key(&key),
            Self::Matching(id) => id.to_string().into_bytes(),
            Self::Leftover(operation) => operation.to_string().into_bytes(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Record {
    Program(Arc<ProgramRecord>),
    Previous(Arc<PreviousRecord>),
    Link(Arc<LinkRecord>),
    Hook(Arc<HookRecord>),
    Matching(Arc<MatchingRecord>),
}

impl Record {
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Program(program) => RecordKey::Program(program.uid),
            Self::Previous(previous) => RecordKey::Previous(previous.program.uid),
            Self::Link(link) => RecordKey::Link(link.id),
            Self::Hook(hook) => RecordKey::Hook(hook.key),
            Self::Matching(matching) => RecordKey::Matching(matching.id),
        }
    }

    /// Tables, in an order in which each record is read after the records that it refers to.
    pub const TABLES: [Table; 5] =
        [records::PROGRAMS, records::PREVIOUS, records::LINKS, records::HOOKS, records::MATCHINGS];

    pub fn parse(table: Table, value: &[u8]) -> Result<Self, EngineError> {
        Ok(match table {
            records::PREVIOUS => Self::Previous(Arc::new(parse(value)?)),
            records::LINKS => Self::Link(Arc::new(parse::<LinkRecord>(value)?.from_disk())),
            records::HOOKS => Self::Hook(Arc::new(parse(value)?)),
            records::MATCHINGS => Self::Matching(Arc::new(parse::<MatchingRecord>(value)?.from_disk())),
            _ => Self::Program(Arc::new(parse(value)?)),
        })
    }

    pub fn encode(&self) -> Result<Vec<u8>, EngineError> {
        match self {
            Self::Program(program) => encode(&**program),
            Self::Previous(previous) => encode(&**previous),
            Self::Link(link) => encode(&LinkRecord::clone(link).on_disk()),
            Self::Hook(hook) => encode(&**hook),
            Self::Matching(matching) => encode(&MatchingRecord::clone(matching).on_disk()),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Change {
    Put(Record),
    End(RecordKey),
}

/// Changes by one operation. A later change of a record overrides an earlier one.
#[derive(Debug, Default)]
#[must_use = "nothing is changed before it is committed"]
pub struct Changes {
    pub all: Vec<Change>,
    pub leftover: Option<(OperationId, LeftoverRecord)>,
}

impl Changes {
    pub fn put_program(&mut self, program: impl Into<Arc<ProgramRecord>>) {
        self.all.push(Change::Put(Record::Program(program.into())));
    }

    pub fn end_program(&mut self, uid: ProgramUid) {
        self.all.push(Change::End(RecordKey::Program(uid)));
    }

    pub fn set_previous(&mut self, uid: ProgramUid, previous: Option<PreviousRecord>) {
        self.all.push(match previous {
            Some(previous) => Change::Put(Record::Previous(Arc::new(previous))),
            None => Change::End(RecordKey::Previous(uid)),
        });
    }

    pub fn put_link(&mut self, link: impl Into<Arc<LinkRecord>>) {
        self.all.push(Change::Put(Record::Link(link.into())));
    }

    pub fn end_link(&mut self, id: LinkId) {
        self.all.push(Change::End(RecordKey::Link(id)));
    }

    pub fn put_hook(&mut self, hook: impl Into<Arc<HookRecord>>) {
        self.all.push(Change::Put(Record::Hook(hook.into())));
    }

    pub fn end_hook(&mut self, key: HookKey) {
        self.all.push(Change::End(RecordKey::Hook(key)));
    }

    pub fn put_matching(&mut self, matching: MatchingRecord) {
        self.all.push(Change::Put(Record::Matching(Arc::new(matching))));
    }

    pub fn end_matching(&mut self, id: MatchingId) {
        self.all.push(Change::End(RecordKey::Matching(id)));
    }

    pub fn leave(&mut self, operation: OperationId, leftover: LeftoverRecord) {
        if leftover != LeftoverRecord::default() {
            self.leftover = Some((operation, leftover));
        }
    }
}

#[derive(Debug, Default)]
pub struct Written {
    pub batch: Batch,
    pub keys: Vec<RecordKey>,
}

impl Written {
    pub fn put(&mut self, key: RecordKey, value: Vec<u8>) {
        self.batch.put(key.table(), &key.bytes(), value);
        self.keys.push(key);
    }

    pub fn end(&mut self, key: RecordKey) {
        self.batch.delete(key.table(), &key.bytes());
        self.keys.push(key);
    }
}

#[derive(Debug, Default)]
pub struct Committed {
    /// Operations under which the store lists the leftovers: several if one record would grow too large.
    pub operations: Vec<OperationId>,
    pub ended: Vec<Arc<HookRecord>>,
}

impl Committed {
    pub fn leaving(self, leftover: LeftoverRecord, hooks: Vec<HookKey>) -> UnclearedLeftovers {
        UnclearedLeftovers { operations: self.operations, leftover, hooks, ended: self.ended }
    }
}

impl State {
    pub fn record(&self, key: RecordKey) -> Option<Record> {
        match key {
            RecordKey::Program(uid) => self.programs.get(&uid).cloned().map(Record::Program),
            RecordKey::Previous(uid) => self.previous.get(&uid).cloned().map(Record::Previous),
            RecordKey::Link(id) => self.links.get(&id).cloned().map(Record::Link),
            RecordKey::Hook(key) => self.hooks.get(&key).cloned().map(Record::Hook),
            RecordKey::Matching(id) => self.matchings.get(&id).cloned().map(Record::Matching),
            RecordKey::Leftover(_) => None,
        }
    }

    pub fn dependents(&self, key: RecordKey) -> Vec<RecordKey> {
        let RecordKey::Program(uid) = key else { return Vec::new() };
        let matchings = self.matchings_of(uid).into_iter().map(RecordKey::Matching);
        matchings.chain([RecordKey::Previous(uid)]).collect()
    }

    /// Applies a change. Returns the hook whose record it removed, if any.
    pub fn apply(&mut self, change: Change) -> Option<Arc<HookRecord>> {
        match change {
            Change::Put(Record::Program(program)) => self.put_program(program),
            Change::Put(Record::Previous(previous)) => {
                self.previous.insert(previous.program.uid, previous);
            }
            Change::Put(Record::Link(link)) => self.links.insert(link.id, link),
            Change::Put(Record::Hook(hook)) => self.hooks.insert(hook.key, hook),
            Change::Put(Record::Matching(matching)) => {
                self.matchings.insert(matching.id, matching);
            }
            Change::End(RecordKey::Program(uid)) => self.remove_program(uid),
            Change::End(RecordKey::Previous(uid)) => {
                self.previous.remove(&uid);
            }
            Change::End(RecordKey::Link(id)) => {
                self.links.remove(&id);
            }
            Change::End(RecordKey::Hook(key)) => {
                self.senders_concerns.remove(&key);
                return self.hooks.remove(&key);
            }
            Change::End(RecordKey::Matching(id)) => {
                self.matchings.remove(&id);
                self.unmatched.remove(&id);
            }
            Change::End(RecordKey::Leftover(_)) => {}
        }
        None
    }
}
