use std::collections::BTreeMap;

use crate::Table;

/// All records as of one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub(crate) tables: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    pub(crate) schema: u32,
}

impl Snapshot {
    /// Returns the value of a record.
    pub fn get(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        self.tables.get(table.0)?.get(key).map(Vec::as_slice)
    }

    /// Returns the records of a table as (key, value), in byte order of their keys.
    pub fn table(&self, table: Table) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.tables.get(table.0).into_iter().flatten().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Removes and returns the records of a table, without a copy.
    pub fn take(&mut self, table: Table) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.tables.remove(table.0).unwrap_or_default()
    }

    /// Returns the names of nonempty tables.
    pub fn table_names(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Returns the schema version of the records.
    pub fn schema(&self) -> u32 {
        self.schema
    }

    /// Returns the number of records in all tables.
    pub fn len(&self) -> usize {
        self.tables.values().map(BTreeMap::len).sum()
    }

    /// Returns whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Number, counted from 0 over the life of the store; never reused.
    pub number: u64,
    pub entry: Vec<u8>,
}
