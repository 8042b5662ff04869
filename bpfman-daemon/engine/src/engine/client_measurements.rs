//! Hooks that are measured on behalf of watching clients. In memory only: the watches end with the daemon.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bpfman_model::HookKey;

/// Measurement of a hook's members that a client requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measurement {
    /// Their sampled times.
    Times,
    /// Their packets and verdicts.
    Verdicts,
}

#[derive(Debug, Default)]
pub struct ClientMeasurements(Mutex<BTreeMap<(HookKey, Measurement), usize>>);

impl ClientMeasurements {
    pub fn begin(&self, key: HookKey, of: Measurement) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((key, of)).or_default() += 1;
    }

    pub fn end(&self, key: HookKey, of: Measurement) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.get_mut(&(key, of)) {
            Some(clients) if *clients > 1 => *clients -= 1,
            _ => drop(watched.remove(&(key, of))),
        }
    }

    pub fn is_wanted(&self, key: HookKey, of: Measurement) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&(key, of))
    }
}
