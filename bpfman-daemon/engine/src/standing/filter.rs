//! Status of a clsact filter.

use bpfman_model::ProgramId;
use bpfmand_kernel::{Kernel, KernelError, SearchOnce, TcFilter};

use super::{Loss, Observed, Standing};
use crate::state::HookPresence;
use crate::state::hook_names::filter_place;
use crate::state::records::HookRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    pub(super) fn observe_filter(
        &self,
        hook: &HookRecord,
        priority: u16,
        handle: u32,
    ) -> Result<Observed<K::Handle>, EngineError> {
        let program = match self.program_in_filter(hook, priority, handle) {
            Err(EngineError::Kernel(KernelError::NamespaceNotFound { .. })) => {
                return Ok(Observed::nothing(Standing::Unreachable));
            }
            program => program?,
        };
        if program == Some(hook.program) {
            return Ok(Observed { standing: Standing::Running, link: None, program });
        }
        match self.at_hook_of(hook)? {
            HookPresence::There(_) => {}
            HookPresence::Gone => return Ok(Observed::nothing(Standing::Gone)),
            HookPresence::Unreachable => return Ok(Observed::nothing(Standing::Unreachable)),
        }
        let how = match program {
            Some(by) => Loss::FilterReplaced { by, name: self.function_name(by) },
            None => Loss::FilterRemoved,
        };
        Ok(Observed { standing: Standing::lost(how), link: None, program })
    }

    /// Returns a filter's program; `None`: its namespace ended; [`KernelError::NamespaceNotFound`]: unknown.
    pub(super) fn program_in_filter(
        &self,
        hook: &HookRecord,
        priority: u16,
        handle: u32,
    ) -> Result<Option<ProgramId>, EngineError> {
        let Some(at) = filter_place(&hook.key, &hook.interface, TcFilter { priority, handle }) else {
            return Ok(None);
        };
        let _search = SearchOnce::begin();
        match self.kernel.filter_program(&at) {
            Err(KernelError::NamespaceNotFound { .. })
                if matches!(self.at_hook_of(hook)?, HookPresence::Gone) =>
            {
                Ok(None)
            }
            program => Ok(program?),
        }
    }
}
