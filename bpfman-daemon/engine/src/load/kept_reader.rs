use std::sync::atomic::{AtomicUsize, Ordering};

use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::load::linked::LinkedLoad;

/// Maximum number of readers that live until the end of their load. Loads wait for locks and for the verifier: more
/// readers would hold memory meanwhile.
const MAX_KEPT: usize = 2;

pub struct KeptReader<'e>(&'e AtomicUsize);

impl<'e> KeptReader<'e> {
    pub fn of<K: Kernel>(engine: &'e Engine<K>, load: &LinkedLoad<'_>) -> Self {
        let kept = &engine.kept_readers;
        if kept.fetch_add(1, Ordering::Relaxed) >= MAX_KEPT {
            load.release_reader();
        }
        Self(kept)
    }
}

impl Drop for KeptReader<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
