//! Lifetimes of programs and links.

use std::time::Duration;

use bpfman_model::{Deadline, MachineTime};
use bpfmand_kernel::Kernel;

use super::Engine;
use crate::EngineError;

impl<K: Kernel> Engine<K> {
    pub(crate) fn deadline(&self, ttl: Option<u64>) -> Result<Option<Deadline>, EngineError> {
        let Some(seconds) = ttl else { return Ok(None) };
        let deadline = Deadline::after(seconds, &self.kernel.now()?);
        deadline.map(Some).map_err(|bad| EngineError::Invalid(bad.to_string()))
    }

    /// Returns the time left; `None` without a deadline, or if the kernel's clock cannot be read.
    pub(crate) fn left(&self, deadline: Option<&Deadline>) -> Option<Duration> {
        Some(deadline?.left(&self.kernel.now().ok()?))
    }

    /// Returns the current time; an error if the kernel does not report its boot id.
    pub fn now(&self) -> Result<MachineTime, EngineError> {
        Ok(self.kernel.now()?)
    }
}
