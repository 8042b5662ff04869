//! What was put by a clsact filter.

use bpfmand_core::ProgramId;
use bpfmand_kernel::{Kernel, KernelError, TcFilter};

use super::{Loss, Observed, Standing};
use crate::state::hook_names::filter_place;
use crate::state::records::HookRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// What is where a filter was put.
    pub(super) fn observe_filter(
        &self,
        hook: &HookRecord,
        priority: u16,
        handle: u32,
    ) -> Result<Observed<K::Handle>, EngineError> {
        let program = self.program_in_filter(hook, priority, handle)?;
        if program == Some(hook.program) {
            return Ok(Observed { standing: Standing::Running, link: None, program });
        }
        // The path may be of another namespace by now, in which an interface has the same number.
        if self.contents(hook.interface.netns.as_deref(), &hook.key)?.is_none() {
            return Ok(Observed::nothing(Standing::Gone));
        }
        let how = match program {
            Some(by) => Loss::FilterReplaced { by, name: self.function_name(by) },
            None => Loss::FilterRemoved,
        };
        Ok(Observed { standing: Standing::lost(how), link: None, program })
    }

    /// The program in the filter of a hook, whoever put it there; none if the filter went with its namespace.
    pub(super) fn program_in_filter(
        &self,
        hook: &HookRecord,
        priority: u16,
        handle: u32,
    ) -> Result<Option<ProgramId>, EngineError> {
        let Some(at) = filter_place(&hook.key, &hook.interface, TcFilter { priority, handle }) else {
            return Ok(None);
        };
        match self.kernel.filter_program(&at) {
            Err(KernelError::NoNamespace { .. }) => Ok(None),
            program => Ok(program?),
        }
    }
}
