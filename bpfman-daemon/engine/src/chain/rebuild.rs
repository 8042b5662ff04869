//! Builds the chain of a hook again without a change that a caller wants.

use std::sync::Arc;

use bpfman_model::LinkId;
use bpfmand_kernel::Kernel;

use crate::engine::undo::undoing;
use crate::state::records::HookRecord;
use crate::{Engine, EngineError};

impl<K: Kernel> Engine<K> {
    /// Rebuilds the chain without `withheld`; `why` names the operation. The caller holds the hook's lock.
    pub(crate) fn rebuild(
        &self,
        why: &'static str,
        hook: &Arc<HookRecord>,
        withheld: &[LinkId],
    ) -> Result<(), EngineError> {
        let links = self.state().chain(&hook.key);
        if links.is_empty() || !self.is_entered(hook)? {
            return Ok(());
        }
        self.step(why, "build chain");
        let place = (&hook.key, &hook.interface);
        let built = self.build_without(place, &links, Some(hook.entry), &hook.settings, withheld)?;
        if built.id == hook.program && built.unsent == hook.unsent && built.withheld == hook.withheld {
            return Ok(());
        }
        undoing(|undo| {
            self.change_chain(hook, &built, undo)?;
            self.step(why, "record");
            self.record_hook(built.recorded(self.hook_as_of_now(hook)))
        })?;
        self.settle_chain(built)
    }
}
