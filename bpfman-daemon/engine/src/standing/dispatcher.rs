//! Status of programs in slots of a libxdp dispatcher.

use bpfmand_kernel::{Kernel, KernelError};

use super::{HookPart, Loss, Observed, Standing};
use crate::state::HookPresence;
use crate::state::records::HookRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    pub(super) fn observe_dispatcher(&self, hook: &HookRecord) -> Result<Observed<K::Handle>, EngineError> {
        let found = match self.dispatcher_with_own_programs(hook) {
            // The dispatcher may still run, with our programs in it.
            Err(EngineError::Kernel(KernelError::NamespaceNotFound { .. })) => None,
            found => found?,
        };
        let Some(dispatcher) = found else {
            let standing = match self.at_hook_of(hook)? {
                HookPresence::There(_) => Standing::lost(Loss::DispatcherGone),
                HookPresence::Gone => Standing::Gone,
                HookPresence::Unreachable => Standing::Unreachable,
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
