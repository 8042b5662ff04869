use crate::EngineError;
use crate::state::records::HookRecord;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Number of programs found as recorded.
    pub adopted: usize,
    /// Number of programs loaded again.
    pub reloaded: usize,
    /// Number of links and chains attached or restored.
    pub reattached: usize,
    /// Number of unfinished operations undone or finished.
    pub settled: usize,
    /// Failed repairs, each with its reason.
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
