//! How long what was made stays.

use std::time::Duration;

use bpfmand_core::{Deadline, MachineTime};
use bpfmand_kernel::Kernel;

use super::Engine;
use crate::EngineError;

impl<K: Kernel> Engine<K> {
    /// When what lives for so many seconds ends.
    pub(crate) fn deadline(&self, ttl: Option<u64>) -> Result<Option<Deadline>, EngineError> {
        let Some(seconds) = ttl else { return Ok(None) };
        let deadline = Deadline::after(seconds, &self.kernel.now()?);
        deadline.map(Some).map_err(|bad| EngineError::Invalid(bad.to_string()))
    }

    /// How long until then. Where the kernel does not tell what time it is, nobody knows.
    pub(crate) fn left(&self, deadline: Option<&Deadline>) -> Option<Duration> {
        Some(deadline?.left(&self.kernel.now().ok()?))
    }

    /// What time it is.
    ///
    /// # Errors
    /// The kernel does not name its boot.
    pub fn now(&self) -> Result<MachineTime, EngineError> {
        Ok(self.kernel.now()?)
    }
}
