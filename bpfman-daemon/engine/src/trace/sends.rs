//! Members that may send packets while a trace runs them.

use bpfmand_core::HookKey;
use bpfmand_kernel::Kernel;
use bpfmand_splice::why_it_may_send;

use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses a hook with a member that may send packets while it runs.
    pub(super) fn ensure_sends_nothing(&self, key: &HookKey) -> Result<(), EngineError> {
        let links = self.state().chain(key);
        for link in links {
            let Some(program) = self.record(link.program) else { continue };
            let why = match program.is_adopted() {
                true => Some("its text is not known: it was adopted"),
                false => why_it_may_send(&self.member(&program)?.text.0),
            };
            if let Some(why) = why {
                let (hook, member) = (self.text_of_hook(key), program.name.clone());
                return Err(EngineError::TraceMaySend { hook, member, why });
            }
        }
        Ok(())
    }
}
