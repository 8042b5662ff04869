//! Result of `wait`, once the condition is met.

use serde::Serialize;

use super::CommandOutput;

/// Answer to `wait`; its table is empty, because the user knows the condition.
#[derive(Clone, Debug, Serialize)]
pub struct Waited {
    /// `program` or `link`.
    pub kind: &'static str,
    pub target: String,
    pub condition: &'static str,
    /// Programs that meet the condition.
    pub program_ids: Vec<u32>,
    /// Links that meet the condition.
    pub link_ids: Vec<u32>,
}

impl CommandOutput for Waited {
    fn ids(&self) -> Vec<String> {
        let ids = if self.kind == "link" { &self.link_ids } else { &self.program_ids };
        ids.iter().map(u32::to_string).collect()
    }
}
