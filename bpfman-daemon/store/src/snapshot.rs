//! What the store held at one moment.

use std::collections::BTreeMap;

use crate::Table;

/// All records, as of one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub(crate) tables: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    pub(crate) schema: u32,
}

impl Snapshot {
    /// The value of one record.
    pub fn get(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        self.tables.get(table.0)?.get(key).map(Vec::as_slice)
    }

    /// The records of a table as (key, value), in byte order of their keys.
    pub fn table(&self, table: Table) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.tables.get(table.0).into_iter().flatten().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Takes a table's records out, sparing the copy.
    pub fn take(&mut self, table: Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.tables.remove(table.0).unwrap_or_default()
    }

    /// The names of the tables that hold something.
    pub fn table_names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Version of what the records mean.
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// Number of records in all tables.
    pub fn len(&self) -> usize {
        self.tables.values().map(BTreeMap::len).sum()
    }

    /// Whether there is no record at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Counts from 0 over the life of the store; never reused.
    pub number: u64,
    /// What was appended.
    pub entry: Vec<u8>,
}
