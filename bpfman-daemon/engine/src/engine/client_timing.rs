//! Hooks whose members are timed on behalf of watching clients. In memory only: the watches end with the daemon.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bpfman_model::HookKey;

#[derive(Debug, Default)]
pub struct ClientTiming(Mutex<BTreeMap<HookKey, usize>>);

impl ClientTiming {
    pub fn begin(&self, key: HookKey) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }

    pub fn end(&self, key: &HookKey) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.get_mut(key) {
            Some(clients) if *clients > 1 => *clients -= 1,
            _ => drop(watched.remove(key)),
        }
    }

    pub fn is_wanted(&self, key: &HookKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }
}
