use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::settings::RepositoryPlace;

const REST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct UnresponsiveMirrors(Mutex<HashMap<String, Instant>>);

impl UnresponsiveMirrors {
    pub(crate) fn leave_out(&self, places: &mut Vec<RepositoryPlace>) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        silent.retain(|_, since| since.elapsed() < REST);
        places.retain(|place| !place.mirror || !silent.contains_key(&place.host));
    }

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
