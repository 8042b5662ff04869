//! Charges owners for the verifier's time on loads that it refuses: nothing of them is left, so that no other limit counts.

use bpfmand_kernel::{Kernel, KernelError, Loaded, LogRequest};

use super::plan::LoadPlan;
use crate::state::RefusalCredit;
use crate::{Engine, EngineError, PausedFor};

const fn is_charged(plan: &LoadPlan<'_>) -> bool {
    !plan.again && !plan.group.is_unlimited()
}

impl<K: Kernel> Engine<K> {
    /// Returns the log of the next load. An owner without credit gets none: the kernel writes it in further verifications.
    pub(super) fn log_on_credit(&self, plan: &LoadPlan<'_>) -> Result<LogRequest, EngineError> {
        if !is_charged(plan) {
            return Ok(plan.log);
        }
        let now = self.now()?.since_boot;
        match self.state().refusals.credit(&plan.group, now) {
            RefusalCredit::Whole => Ok(plan.log),
            RefusalCredit::NoLog(left) if matches!(plan.log, LogRequest::OnFailure | LogRequest::Always) => {
                Ok(LogRequest::Never(left))
            }
            RefusalCredit::NoLog(_) => Ok(plan.log),
            RefusalCredit::Used(left) => {
                Err(EngineError::Paused { of: plan.group.to_string(), why: PausedFor::Refusals, left })
            }
        }
    }

    pub(super) fn charged(
        &self,
        plan: &LoadPlan<'_>,
        load: impl FnOnce() -> Result<Loaded<K::Handle>, KernelError>,
    ) -> Result<Loaded<K::Handle>, KernelError> {
        if !is_charged(plan) {
            return load();
        }
        let before = self.kernel.now()?.since_boot;
        let loaded = load();
        if matches!(loaded, Err(KernelError::Refused { .. })) {
            let now = self.kernel.now()?.since_boot;
            self.state().refusals.charge(&plan.group, now.saturating_sub(before), now);
        }
        loaded
    }
}
