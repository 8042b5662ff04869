//! Batches: atomic changes of the state, and their limits.

use crate::StoreError;

/// Maximum length of a table name, in bytes.
pub const MAX_TABLE_NAME: usize = 64;
/// Maximum length of a key, in bytes.
pub const MAX_KEY: usize = 512;
/// Maximum size of a record or journal entry, in bytes.
pub const MAX_VALUE: usize = 64 * 1024;
/// Maximum size of a write that waiting callers share, in bytes. A larger batch gets a write of its own.
pub const MAX_SHARED: usize = 1024 * 1024;

/// Named table: a namespace of keys. Names are 1 to [`MAX_TABLE_NAME`] bytes of visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub &'static str);

/// Changes that become durable together or not at all. Later changes of a key replace earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) changes: Vec<RecordChange>,
    pub(crate) journal: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) struct RecordChange {
    pub(crate) table: Table,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets the record at `key` (0 to [`MAX_KEY`] bytes) to `value` (0 to [`MAX_VALUE`] bytes).
    pub fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) -> &mut Batch {
        self.changes.push(RecordChange { table, key: key.to_vec(), value: Some(value) });
        self
    }

    /// Removes the record at `key`, if it exists.
    pub fn delete(&mut self, table: Table, key: &[u8]) -> &mut Batch {
        self.changes.push(RecordChange { table, key: key.to_vec(), value: None });
        self
    }

    pub fn journal(&mut self, entry: Vec<u8>) -> &mut Batch {
        self.journal.push(entry);
        self
    }

    /// Returns whether the batch is empty.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.journal.is_empty()
    }

    /// Returns the keys of changed records, unordered and possibly repeated.
    pub fn keys(&self) -> impl Iterator<Item = (Table, &[u8])> {
        self.changes.iter().map(|change| (change.table, change.key.as_slice()))
    }

    /// Returns the size of keys and values, in bytes.
    pub fn size(&self) -> usize {
        let records = self.changes.iter().map(|change| {
            change.table.0.len() + change.key.len() + change.value.as_ref().map_or(0, Vec::len)
        });
        records.chain(self.journal.iter().map(Vec::len)).sum()
    }

    /// Checks the limits of each change. Their number is unlimited: only the caller knows the extent of a step.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        for change in &self.changes {
            let name = change.table.0;
            if name.is_empty()
                || name.len() > MAX_TABLE_NAME
                || !name.bytes().all(|byte| byte.is_ascii_graphic())
            {
                return Err(StoreError::BadTableName { name: name.to_owned() });
            }
            too_large("key", change.key.len(), MAX_KEY)?;
            too_large("record", change.value.as_ref().map_or(0, Vec::len), MAX_VALUE)?;
        }
        self.journal.iter().try_for_each(|entry| too_large("journal entry", entry.len(), MAX_VALUE))
    }
}

fn too_large(what: &'static str, size: usize, limit: usize) -> Result<(), StoreError> {
    if size > limit { Err(StoreError::TooLarge { what, size, limit }) } else { Ok(()) }
}
