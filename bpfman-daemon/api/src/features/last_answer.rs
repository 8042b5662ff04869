//! The last answer, for the next callers: reading the kernel's types takes tens of milliseconds, and as many MiB.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bpfman_proto::ext::v1 as wire;

/// How long an answer holds: modules may be loaded, and settings changed.
const HOLDS: Duration = Duration::from_secs(10);

/// The last answer, and when it was found.
#[derive(Debug, Default)]
pub struct LastAnswer {
    last: Mutex<Option<(Instant, wire::FeaturesResponse)>>,
    /// What was tried, which holds until the kernel ends.
    pub tried: OnceLock<Vec<wire::Feature>>,
}

impl LastAnswer {
    /// The last answer while it holds, else one that is found now. Whoever asks meanwhile waits for it.
    pub fn answer(&self, find: impl FnOnce() -> wire::FeaturesResponse) -> wire::FeaturesResponse {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, answer)) if at.elapsed() < HOLDS => answer.clone(),
            _ => last.insert((Instant::now(), find())).1.clone(),
        }
    }
}
