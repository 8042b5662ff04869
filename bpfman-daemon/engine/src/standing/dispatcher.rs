//! What was put into slots of libxdp's dispatcher.

use bpfmand_kernel::Kernel;

use super::{HookPart, Loss, Observed, Standing};
use crate::state::records::HookRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// What is in the slots of the dispatcher that a hook's members joined.
    pub(super) fn observe_dispatcher(&self, hook: &HookRecord) -> Result<Observed<K::Handle>, EngineError> {
        let Some(dispatcher) = self.dispatcher_with_ours(hook)? else {
            let standing = match self.contents(hook.interface.netns.as_deref(), &hook.key)? {
                Some(_) => Standing::lost(Loss::DispatcherGone),
                None => Standing::Gone,
            };
            return Ok(Observed::nothing(standing));
        };
        let standing = match dispatcher.has_all_of(hook) {
            true => Standing::Running,
            false => Standing::torn(HookPart::Slot),
        };
        Ok(Observed { standing, link: None, program: Some(dispatcher.program.id) })
    }
}
