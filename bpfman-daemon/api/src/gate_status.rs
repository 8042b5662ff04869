//! State of the LSM load gate, for health findings.

use std::sync::{Mutex, PoisonError};

/// Reason why the load gate is open although root configured it.
#[derive(Debug, Default)]
pub struct GateStatus(Mutex<Option<String>>);

impl GateStatus {
    /// Returns the reason; `None` if the gate is closed or not configured.
    #[must_use]
    pub fn why_open(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_why_open(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}
