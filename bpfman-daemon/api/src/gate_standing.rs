//! How the gate in front of the kernel's loader stands, for those who ask what is wrong.

use std::sync::{Mutex, PoisonError};

/// Why the gate stands open, though root asked for it.
#[derive(Debug, Default)]
pub struct GateStanding(Mutex<Option<String>>);

impl GateStanding {
    /// None: it is closed, or nobody asked for one.
    #[must_use]
    pub fn why_open(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says so from now on.
    pub fn set_why_open(&self, why: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}
