//! Hooks whose members clients have timed while they watch. In memory alone: who watches ends with the daemon.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bpfmand_core::HookKey;

/// How many clients watch each hook.
#[derive(Debug, Default)]
pub struct ClientTiming(Mutex<BTreeMap<HookKey, usize>>);

impl ClientTiming {
    /// One more client watches.
    pub fn begin(&self, key: HookKey) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }

    /// One less does.
    pub fn end(&self, key: &HookKey) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.get_mut(key) {
            Some(clients) if *clients > 1 => *clients -= 1,
            _ => drop(watched.remove(key)),
        }
    }

    /// True while one does.
    pub fn is_wanted(&self, key: &HookKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }
}
