//! Ends programs whose lease is no longer held.

use std::sync::Arc;

use bpfmand_kernel::Kernel;

use super::expire::{Ending, Expired};
use crate::Engine;
use crate::engine::RecoveryReport;
use crate::error::if_there;
use crate::state::records::ProgramRecord;

impl<K: Kernel> Engine<K> {
    fn left_by_clients(&self) -> Vec<Arc<ProgramRecord>> {
        let state = self.state();
        let is_over = |program: &&Arc<ProgramRecord>| {
            program.budget.lease.is_some_and(|lease| !self.client_leases.is_held(lease))
        };
        state.programs.values().filter(is_over).cloned().collect()
    }

    pub(super) fn has_left_by_clients(&self) -> bool {
        !self.left_by_clients().is_empty()
    }

    pub(super) fn end_left_by_clients(&self) -> Vec<Expired> {
        let end = |program: Arc<ProgramRecord>| {
            let links = self.state().links_of(program.uid).map(|link| link.id).collect();
            let ended = self.unload_if(program.uid, |now| now.budget.lease == program.budget.lease);
            if matches!(ended, Ok(false)) {
                return None;
            }
            Some(Expired {
                what: format!("program {} {}", program.id, program.name),
                programs: vec![program.id],
                links,
                owner: program.owner().to_string(),
                ending: Ending::Lease,
                failure: if_there(ended.map(drop)).err(),
            })
        };
        self.left_by_clients().into_iter().filter_map(end).collect()
    }

    /// Removes records of leased programs of an earlier boot: they no longer run, and must not be loaded again.
    pub(crate) fn forget_left_by_clients(&self, report: &mut RecoveryReport) {
        for program in self.left_by_clients() {
            if program.boot == self.boot {
                continue;
            }
            tracing::info!(program = program.name, "its client is gone, and so is its record");
            let links: Vec<_> = self.state().links_of(program.uid).cloned().collect();
            let result = self.remove("recover", &links, Some(&program));
            report.settled += 1;
            report.note(format!("forgetting program \"{}\", whose lease is over", program.name), result);
        }
    }
}
