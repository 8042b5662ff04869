//! Entry of a chain: a link or a filter, and the replacement of its program.

use bpfman_model::{Interface, ProgramId};
use bpfmand_kernel::{Kernel, KernelError, TcFilter};

use crate::state::hook_names::{filter_name, filter_place};
use crate::state::records::{Entry, HookRecord};
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Replaces the program at a hook's entry, atomically. Does nothing if the interface is gone.
    pub(crate) fn swap(
        &self,
        hook: &HookRecord,
        from: ProgramId,
        to: &K::Handle,
        interface: &Interface,
    ) -> Result<(), EngineError> {
        let changed = || EngineError::Kernel(KernelError::HookChanged { hook: hook.key.kind.at(interface) });
        match hook.entry {
            Entry::Link => {
                let link = self.kernel.open_pin(&paths::hook_link(&hook.key))?.ok_or_else(changed)?;
                let switch = || self.switch_program(&link, from, to);
                self.swap_and_count(&hook.key, switch).map_err(|error| match error {
                    EngineError::NoKernelProgram(_) => changed(),
                    other => other,
                })
            }
            Entry::Dispatcher => Err(changed()),
            Entry::Filter { priority, handle } => {
                let filter = TcFilter { priority, handle };
                let Some(at) = filter_place(&hook.key, interface, filter) else { return Ok(()) };
                let name = filter_name(&hook.key, interface);
                let replace =
                    || self.held_network.during(|| self.kernel.replace_filter(&at, to, from, &name));
                self.swap_and_count(&hook.key, || Ok(replace().map(|()| true)?))
            }
        }
    }
}
