//! Answers about single entries of maps.

use serde::Serialize;

use super::CommandOutput;
use super::entry_value::EntryValue;
use super::screen::{Screen, cell};
use super::value::TypedValue;

/// An entry.
#[derive(Clone, Debug, Serialize)]
pub struct ShownEntry {
    /// None in queues and stacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<TypedValue>,
    /// Of a per-CPU map the sum, or all values where nothing can be added.
    pub value: TypedValue,
    /// The value of each CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_cpu: Option<Vec<TypedValue>>,
}

impl ShownEntry {
    /// An entry with its value.
    #[must_use]
    pub fn new(key: Option<TypedValue>, value: EntryValue) -> Self {
        Self { key, value: value.total, per_cpu: value.each }
    }

    /// The value in one line: as a whole, or of each CPU.
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

/// The answer to `map get`.
#[derive(Clone, Debug, Serialize)]
pub struct MapEntryAnswer {
    /// It is.
    #[serde(flatten)]
    pub entry: ShownEntry,
    /// For people: show each CPU.
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

/// The answer to `map set`.
#[derive(Clone, Debug, Serialize)]
pub struct SetAnswer {
    /// The kernel's id.
    pub map_id: u32,
    /// None in queues and stacks.
    pub key: Option<TypedValue>,
    /// As it was set; of a per-CPU map for the first CPU.
    pub value: TypedValue,
}

impl CommandOutput for SetAnswer {}

/// The answer to `map delete`.
#[derive(Clone, Debug, Serialize)]
pub struct DeletedEntries {
    /// The kernel's id.
    pub map_id: u32,
    /// In the order of the keys.
    pub entries: Vec<DeletedEntry>,
}

/// A key whose entry is gone.
#[derive(Clone, Debug, Serialize)]
pub struct DeletedEntry {
    /// It is.
    pub key: TypedValue,
    /// "deleted", or "missing" if there was none.
    pub outcome: &'static str,
}

impl DeletedEntry {
    /// What became of an entry.
    #[must_use]
    pub const fn new(key: TypedValue, deleted: bool) -> Self {
        Self { key, outcome: if deleted { "deleted" } else { "missing" } }
    }
}

impl CommandOutput for DeletedEntries {}
