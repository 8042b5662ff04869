//! What `wait` waited for, once it is so.

use serde::Serialize;

use super::CommandOutput;

/// The answer to `wait`, which says nothing to people: they asked for it.
#[derive(Clone, Debug, Serialize)]
pub struct Waited {
    /// `program` or `link`.
    pub kind: &'static str,
    /// The id or name that was asked for.
    pub target: String,
    /// What is so.
    pub condition: &'static str,
    /// The programs that it is so of.
    pub program_ids: Vec<u32>,
    /// The links.
    pub link_ids: Vec<u32>,
}

impl CommandOutput for Waited {
    fn ids(&self) -> Vec<String> {
        let ids = if self.kind == "link" { &self.link_ids } else { &self.program_ids };
        ids.iter().map(u32::to_string).collect()
    }
}
