//! Programs that are used to build chains before they are recorded.

use std::sync::Arc;

use bpfman_model::ProgramUid;
use bpfmand_kernel::Kernel;

use crate::Engine;
use crate::state::records::ProgramRecord;

/// Makes new versions, and programs of a dry run, visible to the building of chains while it lives.
pub struct Overlay<'a, K: Kernel>(&'a Engine<K>, Vec<ProgramUid>);

impl<'a, K: Kernel> Overlay<'a, K> {
    /// The caller holds the locks of the programs and of all their hooks.
    pub fn put<'n>(engine: &'a Engine<K>, new: impl IntoIterator<Item = &'n Arc<ProgramRecord>>) -> Self {
        let mut state = engine.state();
        let mut uids = Vec::new();
        for version in new {
            state.replacing.insert(version.uid, Arc::clone(version));
            uids.push(version.uid);
        }
        drop(state);
        Self(engine, uids)
    }
}

impl<K: Kernel> Drop for Overlay<'_, K> {
    fn drop(&mut self) {
        self.0.state().replacing.retain(|uid, _| !self.1.contains(uid));
    }
}
