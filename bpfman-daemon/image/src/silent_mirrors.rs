//! Mirrors that did not answer a short time ago: loads go on without them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::settings::RepositoryPlace;

/// How long a mirror is left out. One load in that time waits for it, and finds out when it is back.
const REST: Duration = Duration::from_secs(60);

/// Mirrors by their hosts, and when they did not answer. Only mirrors that the configuration names get in.
#[derive(Debug, Default)]
pub(crate) struct SilentMirrors(Mutex<HashMap<String, Instant>>);

impl SilentMirrors {
    /// Leaves those mirrors out of `places` that did not answer.
    pub(crate) fn leave_out(&self, places: &mut Vec<RepositoryPlace>) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|_, since| since.elapsed() < REST);
        places.retain(|place| !place.mirror || !silent.contains_key(&place.host));
    }

    /// Notes that mirrors did not answer.
    pub(crate) fn note<'a>(&self, hosts: impl IntoIterator<Item = &'a String>) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for mirror in hosts {
            if silent.insert(mirror.clone(), Instant::now()).is_none() {
                let seconds = REST.as_secs();
                tracing::warn!(mirror, seconds, "a mirror does not answer, and is left out for so long");
            }
        }
    }
}
