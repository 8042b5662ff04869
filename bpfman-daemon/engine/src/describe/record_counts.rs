//! Numbers of objects and of faults, for metrics.

use std::collections::HashSet;

use bpfman_model::ProgramId;
use bpfmand_kernel::Kernel;

use crate::Engine;

/// Numbers from the records and from the last checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Kernel ids of the programs that should be loaded.
    pub programs: HashSet<ProgramId>,
    /// Number of programs that could not be loaded again after a reboot.
    pub lost_programs: u64,
    /// Number of programs that exceed their CPU limit and still run.
    pub over_cpu_limit: u64,
    /// Number of hooks whose chain differs from its record and could not be repaired.
    pub drifted_hooks: u64,
    /// Number of links outside chains that differ from their records and could not be repaired.
    pub drifted_links: u64,
    /// Number of the daemon's kernel objects without a record, as found by the last start.
    pub strays: u64,
    /// Number of failed operations that could not be undone.
    pub unfinished: u64,
}

impl<K: Kernel> Engine<K> {
    /// Returns the numbers, without queries of the kernel.
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
