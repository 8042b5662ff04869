//! The members of a hook that a caller was asked about.

use bpfmand_core::{HookKey, LinkId};
use bpfmand_kernel::Kernel;

use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses to act on a hook that has a member which its caller was not asked about: it was attached meanwhile. The caller
    /// of this holds the hook's lock.
    pub(crate) fn ensure_members(&self, key: &HookKey, seen: Option<&[LinkId]>) -> Result<(), EngineError> {
        let Some(seen) = seen else { return Ok(()) };
        let members = self.state().chain(key);
        if members.iter().all(|link| seen.contains(&link.id)) {
            return Ok(());
        }
        Err(EngineError::NewMember { hook: self.text_of_hook(key) })
    }
}
