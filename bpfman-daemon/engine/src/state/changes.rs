//! What one operation changes of the records: gathered here, written in one durable step, and applied to memory after it.
//!
//! `Engine::commit` alone writes records and alone applies changes, so memory and disk cannot differ.

use std::sync::Arc;

use bpfmand_core::{HookKey, LinkId, MatchingId, OperationId, ProgramUid};
use bpfmand_store::{Batch, Table};

use super::State;
use crate::EngineError;
use crate::state::records::{
    HookRecord, LeftoverRecord, LinkRecord, MatchingRecord, PreviousRecord, ProgramRecord,
};
use crate::state::{Uncleared, encode, parse, records};

/// Names one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKey {
    /// A program.
    Program(ProgramUid),
    /// The version of a program before its last replacement.
    Previous(ProgramUid),
    /// A link.
    Link(LinkId),
    /// A hook.
    Hook(HookKey),
    /// An attachment to all interfaces that match.
    Matching(MatchingId),
    /// What an operation left to be removed.
    Leftover(OperationId),
}

impl RecordKey {
    /// The store's table.
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

    /// The store's key within that table.
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

/// A record that memory holds.
#[derive(Clone, Debug)]
pub enum Record {
    /// A program.
    Program(Arc<ProgramRecord>),
    /// The version of a program before its last replacement.
    Previous(Arc<PreviousRecord>),
    /// A link.
    Link(Arc<LinkRecord>),
    /// A hook.
    Hook(Arc<HookRecord>),
    /// An attachment to all interfaces that match.
    Matching(Arc<MatchingRecord>),
}

impl Record {
    /// Its name.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Program(program) => RecordKey::Program(program.uid),
            Self::Previous(previous) => RecordKey::Previous(previous.program.uid),
            Self::Link(link) => RecordKey::Link(link.id),
            Self::Hook(hook) => RecordKey::Hook(hook.key),
            Self::Matching(matching) => RecordKey::Matching(matching.id),
        }
    }

    /// Tables in an order in which no record is read before what it refers to.
    pub const TABLES: [Table; 5] =
        [records::PROGRAMS, records::PREVIOUS, records::LINKS, records::HOOKS, records::MATCHINGS];

    /// A record of one of [`Self::TABLES`].
    pub fn parse(table: Table, value: &[u8]) -> Result<Self, EngineError> {
        Ok(match table {
            records::PREVIOUS => Self::Previous(Arc::new(parse(value)?)),
            records::LINKS => Self::Link(Arc::new(parse::<LinkRecord>(value)?.from_disk())),
            records::HOOKS => Self::Hook(Arc::new(parse(value)?)),
            records::MATCHINGS => Self::Matching(Arc::new(parse::<MatchingRecord>(value)?.from_disk())),
            _ => Self::Program(Arc::new(parse(value)?)),
        })
    }

    /// As the store keeps it.
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

/// One change of one record.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is there from now on, as it is here.
    Put(Record),
    /// It is no more; nothing happens where there is none.
    End(RecordKey),
}

/// What one operation changes. Later changes of a record win over earlier ones.
#[derive(Debug, Default)]
#[must_use = "nothing is changed before it is committed"]
pub struct Changes {
    /// In order.
    pub all: Vec<Change>,
    /// What the operation leaves in the kernel to be removed.
    pub leftover: Option<(OperationId, LeftoverRecord)>,
}

impl Changes {
    /// Adds or replaces a program.
    pub fn put_program(&mut self, program: impl Into<Arc<ProgramRecord>>) {
        self.all.push(Change::Put(Record::Program(program.into())));
    }

    /// Ends a program, with the version before it and its attachments to matching interfaces.
    pub fn end_program(&mut self, uid: ProgramUid) {
        self.all.push(Change::End(RecordKey::Program(uid)));
    }

    /// Sets the version of a program before its last replacement, or ends it.
    pub fn set_previous(&mut self, uid: ProgramUid, previous: Option<PreviousRecord>) {
        self.all.push(match previous {
            Some(previous) => Change::Put(Record::Previous(Arc::new(previous))),
            None => Change::End(RecordKey::Previous(uid)),
        });
    }

    /// Adds or replaces a link.
    pub fn put_link(&mut self, link: impl Into<Arc<LinkRecord>>) {
        self.all.push(Change::Put(Record::Link(link.into())));
    }

    /// Ends a link.
    pub fn end_link(&mut self, id: LinkId) {
        self.all.push(Change::End(RecordKey::Link(id)));
    }

    /// Adds or replaces a hook.
    pub fn put_hook(&mut self, hook: impl Into<Arc<HookRecord>>) {
        self.all.push(Change::Put(Record::Hook(hook.into())));
    }

    /// Ends a hook.
    pub fn end_hook(&mut self, key: HookKey) {
        self.all.push(Change::End(RecordKey::Hook(key)));
    }

    /// Adds an attachment to all interfaces that match.
    pub fn put_matching(&mut self, matching: MatchingRecord) {
        self.all.push(Change::Put(Record::Matching(Arc::new(matching))));
    }

    /// Ends an attachment to all interfaces that match.
    pub fn end_matching(&mut self, id: MatchingId) {
        self.all.push(Change::End(RecordKey::Matching(id)));
    }

    /// Lists what the operation leaves in the kernel.
    pub fn leave(&mut self, operation: OperationId, leftover: LeftoverRecord) {
        if leftover != LeftoverRecord::default() {
            self.leftover = Some((operation, leftover));
        }
    }
}

/// Changes as the store takes them, with the records that they are of.
#[derive(Debug, Default)]
pub struct Written {
    /// For the store.
    pub batch: Batch,
    /// In no order; a record may be there more than once.
    pub keys: Vec<RecordKey>,
}

impl Written {
    /// Sets a record.
    pub fn put(&mut self, key: RecordKey, value: Vec<u8>) {
        self.batch.put(key.table(), &key.bytes(), value);
        self.keys.push(key);
    }

    /// Ends a record.
    pub fn end(&mut self, key: RecordKey) {
        self.batch.delete(key.table(), &key.bytes());
        self.keys.push(key);
    }
}

/// What came of a commit.
#[derive(Debug, Default)]
pub struct Committed {
    /// The operations by which the store lists what was left: more than one where one record would grow too large.
    pub operations: Vec<OperationId>,
    /// Hooks that ended.
    pub ended: Vec<Arc<HookRecord>>,
}

impl Committed {
    /// What is to be cleared after it, and the hooks that the changed links have left.
    pub fn leaving(self, leftover: LeftoverRecord, hooks: Vec<HookKey>) -> Uncleared {
        Uncleared { operations: self.operations, leftover, hooks, ended: self.ended }
    }
}

impl State {
    /// A record, as memory has it.
    pub fn record(&self, key: RecordKey) -> Option<Record> {
        match key {
            RecordKey::Program(uid) => self.programs.get(&uid).cloned().map(Record::Program),
            RecordKey::Previous(uid) => self.previous.get(&uid).cloned().map(Record::Previous),
            RecordKey::Link(id) => self.links.get(&id).cloned().map(Record::Link),
            RecordKey::Hook(key) => self.hooks.get(&key).cloned().map(Record::Hook),
            RecordKey::Matching(id) => self.matchings.get(&id).cloned().map(Record::Matching),
            // Memory has those that could not be removed at once, and only them.
            RecordKey::Leftover(_) => None,
        }
    }

    /// Records that end with a record.
    pub fn dependents(&self, key: RecordKey) -> Vec<RecordKey> {
        let RecordKey::Program(uid) = key else { return Vec::new() };
        let matchings = self.matchings_of(uid).into_iter().map(RecordKey::Matching);
        matchings.chain([RecordKey::Previous(uid)]).collect()
    }

    /// Applies a change. Answers the hook that ended by it.
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
            Change::End(RecordKey::Hook(key)) => return self.hooks.remove(&key),
            Change::End(RecordKey::Matching(id)) => {
                self.matchings.remove(&id);
                self.unmatched.remove(&id);
            }
            Change::End(RecordKey::Leftover(_)) => {}
        }
        None
    }
}
