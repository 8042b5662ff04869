//! Cache of the last answer: reading the kernel's types takes tens of milliseconds, and as many MiB.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bpfman_proto::ext::v1 as wire;

/// Time for which an answer is valid: modules may be loaded, and settings changed.
const HOLDS: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct LastAnswer {
    last: Mutex<Option<(Instant, wire::FeaturesResponse)>>,
    /// Probe results, valid until the kernel shuts down.
    pub tried: OnceLock<Vec<wire::Feature>>,
}

impl LastAnswer {
    /// Returns the last answer while it is valid, else a new one. Concurrent callers wait for it.
    pub fn answer(&self, find: impl FnOnce() -> wire::FeaturesResponse) -> wire::FeaturesResponse {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, answer)) if at.elapsed() < HOLDS => answer.clone(),
            _ => last.insert((Instant::now(), find())).1.clone(),
        }
    }
}
