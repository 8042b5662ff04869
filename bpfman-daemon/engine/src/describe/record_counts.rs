//! How many of what there is, and how much of it is not as it should be: for metrics.

use std::collections::HashSet;

use bpfmand_core::ProgramId;
use bpfmand_kernel::Kernel;

use crate::Engine;

/// What the records, and the last checks, say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Programs that the kernel is to have.
    pub programs: HashSet<ProgramId>,
    /// Programs that could not be loaded again after a reboot.
    pub lost_programs: u64,
    /// Programs that took more of a CPU than they may, and go on.
    pub over_cpu_limit: u64,
    /// Hooks of chains that differ from their records and could not be mended.
    pub drifted_hooks: u64,
    /// The same of links that are no members of chains.
    pub drifted_links: u64,
    /// What is of ours in the kernel and has no record, as the last start found it.
    pub strays: u64,
    /// Failed operations that could not be undone.
    pub unfinished: u64,
}

impl<K: Kernel> Engine<K> {
    /// Counts; nothing of the kernel is asked.
    #[must_use]
    pub fn record_counts(&self) -> RecordCounts {
        let state = self.state();
        let has = state.programs.values().filter(|program| !state.lost.contains(&program.uid));
        RecordCounts {
            programs: has.map(|program| program.id).collect(),
            lost_programs: state.lost.len() as u64,
            over_cpu_limit: state.warned.len() as u64,
            drifted_hooks: state.drifted.len() as u64,
            drifted_links: state.drifted_links.len() as u64,
            strays: state.strays.len() as u64,
            unfinished: state.unfinished.len() as u64,
        }
    }
}
