//! Cache of pins with known objects: each list of programs compares all pins of all programs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bpfman_model::{MapId, ProgramId};
use bpfmand_kernel::PinIdentity;

/// Maximum number of cached pins (a few megabytes). The whole cache is then cleared, since it also has removed pins.
const MAX_KNOWN: usize = 32_768;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedObject {
    Map(MapId),
    Program(ProgramId, [u8; 8]),
}

#[derive(Debug, Default)]
pub struct KnownPins(Mutex<HashMap<PinIdentity, PinnedObject>>);

impl KnownPins {
    pub fn is_of(&self, pin: PinIdentity, object: PinnedObject) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&pin) == Some(&object)
    }

    pub fn add(&self, pin: PinIdentity, object: PinnedObject) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(pin, object);
    }
}
