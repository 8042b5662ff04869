//! Check for members that may send packets during a trace.

use bpfman_model::{HookKey, HookKind, ProgramUid};
use bpfmand_kernel::Kernel;
use bpfmand_splice::why_it_may_send;

use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Refuses members that may send packets. XDP programs send only by their verdict, which a trace does not execute.
    pub(super) fn ensure_sends_nothing(&self, key: &HookKey) -> Result<(), EngineError> {
        if key.kind == HookKind::Xdp {
            return Ok(());
        }
        let links = self.state().chain(key);
        for link in links {
            let Some(program) = self.record(link.program) else { continue };
            let why = match program.is_adopted() {
                true => Some("its text is not known: it was adopted"),
                false if self.is_extended(program.uid) => {
                    Some("another program takes the place of one of its functions")
                }
                false => why_it_may_send(&self.member(&program)?.text.0),
            };
            if let Some(why) = why {
                let (hook, member) = (self.text_of_hook(key), program.name.clone());
                return Err(EngineError::TraceMaySend { hook, member, why });
            }
        }
        Ok(())
    }

    fn is_extended(&self, uid: ProgramUid) -> bool {
        let state = self.state();
        let is_attached = |by: ProgramUid| state.links_of(by).next().is_some();
        state.extensions.of(uid).any(is_attached)
    }
}
