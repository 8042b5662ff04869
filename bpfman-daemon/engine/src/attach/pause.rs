//! Refuses attachments of owners whose programs were detached for what they cost.

use bpfmand_kernel::Kernel;

use crate::state::cpu_time::is_tenants_probe;
use crate::state::payer;
use crate::state::records::ProgramRecord;
use crate::{Engine, EngineError, PausedFor};

impl<K: Kernel> Engine<K> {
    /// An attachment by root ends the pause.
    pub(crate) fn ensure_no_pause(&self, program: &ProgramRecord, is_root: bool) -> Result<(), EngineError> {
        if self.state().pauses.is_empty() {
            return Ok(());
        }
        let (of, now) = (payer(program), self.now()?.since_boot);
        let mut state = self.state();
        if is_root {
            state.pauses.end(&of);
            return Ok(());
        }
        let left = |why| state.pauses.left(&of, why, now).map(|left| (why, left));
        let probes = is_tenants_probe(program).then(|| left(PausedFor::Breakpoints)).flatten();
        match probes.or_else(|| left(PausedFor::CpuTime)) {
            None => Ok(()),
            Some((why, left)) => Err(EngineError::Paused { of: of.to_string(), why, left }),
        }
    }
}
