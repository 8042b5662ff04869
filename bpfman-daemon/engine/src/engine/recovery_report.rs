//! What a start did.

use crate::EngineError;
use crate::state::records::HookRecord;

/// What recovery found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Programs found as recorded.
    pub adopted: usize,
    /// Programs loaded again.
    pub reloaded: usize,
    /// Links and chains attached or put back.
    pub reattached: usize,
    /// Unfinished operations undone or finished.
    pub settled: usize,
    /// What could not be mended, and why.
    pub problems: Vec<String>,
}

impl RecoveryReport {
    pub(crate) fn note(&mut self, what: impl std::fmt::Display, result: Result<(), EngineError>) {
        if let Err(error) = result {
            self.problems.push(format!("{what}: {error}"));
        }
    }

    pub(crate) fn of_hook(&mut self, hook: &HookRecord, error: &EngineError) {
        self.problems.push(format!("chain of {}: {error}", hook.key.kind.at(&hook.interface)));
    }
}
