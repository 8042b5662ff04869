//! Answers about single entries of maps.

use serde::Serialize;

use super::CommandOutput;
use super::entry_value::EntryValue;
use super::screen::{Screen, cell};
use super::value::TypedValue;

#[derive(Clone, Debug, Serialize)]
pub struct ShownEntry {
    /// Key; none in queues and stacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<TypedValue>,
    /// Value; for a per-CPU map the sum, or all values if they cannot be added.
    pub value: TypedValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_cpu: Option<Vec<TypedValue>>,
}

impl ShownEntry {
    #[must_use]
    pub fn new(key: Option<TypedValue>, value: EntryValue) -> Self {
        Self { key, value: value.total, per_cpu: value.each }
    }

    /// Returns the value in one line: the total, or that of each CPU.
    #[must_use]
    pub fn value_text(&self, per_cpu: bool) -> String {
        match &self.per_cpu {
            Some(each) if per_cpu => {
                format!("[{}]", each.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            _ => self.value.to_string(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct MapEntryAnswer {
    #[serde(flatten)]
    pub entry: ShownEntry,
    /// True if tables show each CPU.
    #[serde(skip)]
    pub per_cpu: bool,
}

impl CommandOutput for MapEntryAnswer {
    fn table(&self, _: Screen) -> String {
        format!("{}\n", cell(&self.entry.value_text(self.per_cpu)))
    }

    fn ids(&self) -> Vec<String> {
        vec![self.entry.value_text(self.per_cpu)]
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct SetAnswer {
    pub map_id: u32,
    /// Key; none in queues and stacks.
    pub key: Option<TypedValue>,
    /// New value; for a per-CPU map that of the first CPU.
    pub value: TypedValue,
}

impl CommandOutput for SetAnswer {}

#[derive(Clone, Debug, Serialize)]
pub struct DeletedEntries {
    pub map_id: u32,
    /// Entries, in the order of the keys.
    pub entries: Vec<DeletedEntry>,
}

/// Result of deleting an entry.
#[derive(Clone, Debug, Serialize)]
pub struct DeletedEntry {
    pub key: TypedValue,
    /// "deleted", or "missing" if there was none.
    pub outcome: &'static str,
}

impl DeletedEntry {
    /// Creates the result of deleting an entry.
    #[must_use]
    pub const fn new(key: TypedValue, deleted: bool) -> Self {
        Self { key, outcome: if deleted { "deleted" } else { "missing" } }
    }
}

impl CommandOutput for DeletedEntries {}
