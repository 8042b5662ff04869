//! Charges owners for the verifier's time on programs that are not kept. No other limit counts those.

use std::time::Duration;

use bpfmand_kernel::{Kernel, KernelError, Loaded, LogRequest};

use super::plan::LoadPlan;
use crate::state::{MapGroup, RefusalCredit};
use crate::{Engine, EngineError, PausedFor};

const fn is_charged(plan: &LoadPlan<'_>) -> bool {
    !plan.again && !plan.group.is_unlimited()
}

impl<K: Kernel> Engine<K> {
    /// Returns the log mode of the next load. An owner without credit gets no log: the kernel verifies again to write it.
    pub(super) fn log_on_credit(&self, plan: &LoadPlan<'_>) -> Result<LogRequest, EngineError> {
        if !is_charged(plan) {
            return Ok(plan.log);
        }
        let now = self.now()?.since_boot;
        self.ensure_credit(&plan.group, now)?;
        match self.state().refusals.credit(&plan.group, now) {
            RefusalCredit::NoLog(left) if matches!(plan.log, LogRequest::OnFailure | LogRequest::Always) => {
                Ok(LogRequest::Never(left))
            }
            _ => Ok(plan.log),
        }
    }

    pub(super) fn charged(
        &self,
        plan: &LoadPlan<'_>,
        verified: &mut Duration,
        load: impl FnOnce() -> Result<Loaded<K::Handle>, KernelError>,
    ) -> Result<Loaded<K::Handle>, KernelError> {
        if !is_charged(plan) {
            return load();
        }
        let before = self.kernel.now()?.since_boot;
        let loaded = load();
        let now = self.kernel.now()?.since_boot;
        let took = now.saturating_sub(before);
        match &loaded {
            Err(KernelError::Refused { .. }) => self.state().refusals.charge(&plan.group, took, now),
            _ => *verified += took,
        }
        loaded
    }

    /// Charges programs that passed the verifier, but are dropped: of a load that fails later, or of a dry run.
    pub(super) fn charge_dropped(&self, plan: &LoadPlan<'_>, verified: Duration) {
        if !verified.is_zero()
            && let Ok(now) = self.now()
        {
            self.state().refusals.charge(&plan.group, verified, now.since_boot);
        }
    }

    pub(crate) fn charge_since(&self, owner: &MapGroup, began: Duration) {
        if !owner.is_unlimited()
            && let Ok(now) = self.now()
        {
            let now = now.since_boot;
            self.state().refusals.charge(owner, now.saturating_sub(began), now);
        }
    }

    pub(crate) fn ensure_credit(&self, owner: &MapGroup, now: Duration) -> Result<(), EngineError> {
        match self.state().refusals.credit(owner, now) {
            RefusalCredit::Used(left) => {
                Err(EngineError::Paused { of: owner.to_string(), why: PausedFor::Refusals, left })
            }
            RefusalCredit::Whole | RefusalCredit::NoLog(_) => Ok(()),
        }
    }
}
