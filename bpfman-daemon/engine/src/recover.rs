//! Start: the records are compared with the kernel, and what differs is mended.
//!
//! Whatever ended the daemon before - a signal, a crash between two steps, a reboot - the same comparison brings kernel,
//! pins and records together again. What cannot be mended now is reported and stays recorded.

use std::collections::HashSet;

use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

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
}

impl<K: Kernel> Engine<K> {
    /// Brings kernel, pins and records together. To be called once, before the first request.
    ///
    /// # Errors
    /// The records or the pins cannot be read at all. Single things that cannot be mended are in the report.
    pub fn recover(&self) -> Result<RecoveryReport, EngineError> {
        let mut report = RecoveryReport::default();
        for (operation, leftover) in self.leftovers()? {
            report.settled += 1;
            let leftover = self.unclaimed(leftover);
            let result = self.clear_leftover("recover", operation, &leftover);
            report.note(format!("cleaning up after operation {operation}"), result);
        }
        self.settle_pending(&mut report)?;
        let reloaded = self.recover_programs(&mut report);
        self.recover_hooks(&reloaded, &mut report);
        self.recover_links(&mut report);
        let state = self.state();
        let wanted: HashSet<String> =
            state.programs.values().map(|program| program.blob.as_str().to_owned()).collect();
        drop(state);
        self.blobs.sweep(|name| wanted.contains(name))?;
        Ok(report)
    }
}
