//! Refuses attachments of owners whose programs were detached for their CPU time or breakpoints.

use bpfmand_kernel::Kernel;

use crate::state::cpu_time::is_tenants_probe;
use crate::state::payer;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError, PausedFor};

impl<K: Kernel> Engine<K> {
    pub(crate) fn ensure_no_pause(&self, program: &ProgramRecord, is_root: bool) -> Result<(), EngineError> {
        let of = payer(program);
        if is_root || of.is_unlimited() {
            return Ok(());
        }
        let now = self.now()?.since_boot;
        self.ensure_credit(&of, now)?;
        let state = self.state();
        let left = |why| state.pauses.left(&of, why, now).map(|left| (why, left));
        let probes = is_tenants_probe(program).then(|| left(PausedFor::Breakpoints)).flatten();
        match probes.or_else(|| left(PausedFor::CpuTime)) {
            None => Ok(()),
            Some((why, left)) => Err(EngineError::Paused { of: of.to_string(), why, left }),
        }
    }

    pub(crate) fn end_pause_by(&self, program: &ProgramRecord, is_root: bool) {
        if is_root {
            self.state().pauses.end(&payer(program));
        }
    }
}
