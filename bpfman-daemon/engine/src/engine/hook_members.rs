//! Check for new members of a hook since access was checked.

use bpfman_model::{HookKey, LinkId};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses a hook with a member that was attached after access was checked. The caller holds the hook's lock.
    pub(crate) fn ensure_members(&self, key: &HookKey, seen: Option<&[LinkId]>) -> Result<(), EngineError> {
        let Some(seen) = seen else { return Ok(()) };
        let members = self.state().chain(key);
        if members.iter().all(|link| seen.contains(&link.id)) {
            return Ok(());
        }
        Err(EngineError::NewMember { hook: self.text_of_hook(key) })
    }
}
