//! Swaps a new dispatcher for the one that a hook runs, and undoes it.

use std::path::{Path, PathBuf};

use bpfman_model::{HookKey, Interface, OperationId, ProgramId, XdpRunsIn};
use bpfmand_kernel::Kernel;

use crate::engine::undo::{Undo, retry_once};
use crate::error::{Remainder, UndoFailure};
use crate::libxdp::{folder, recover};
use crate::state::records::ExtensionRecord;
use crate::{Engine, EngineError, paths};

pub struct LoadedDispatcher<H> {
    pub id: ProgramId,
    pub tag: [u8; 8],
    pub handle: H,
}

/// A dispatcher that is ready to replace another. Settle it when the record names it: if it is dropped before, its pins
/// are removed unless the hook runs it.
pub struct NewDispatcher<'a, K: Kernel> {
    engine: &'a Engine<K>,
    operation: OperationId,
    interface: Interface,
    pub mode: XdpRunsIn,
    settled: bool,
    pub key: HookKey,
    pub before: LoadedDispatcher<K::Handle>,
    pub after: Option<LoadedDispatcher<K::Handle>>,
    pub extensions: Vec<ExtensionRecord>,
}

impl<'a, K: Kernel> NewDispatcher<'a, K> {
    pub(super) fn beside(
        engine: &'a Engine<K>,
        key: &HookKey,
        interface: &Interface,
        mode: XdpRunsIn,
        before: LoadedDispatcher<K::Handle>,
    ) -> Self {
        Self {
            engine,
            operation: engine.operation(),
            interface: interface.clone(),
            mode,
            settled: false,
            key: *key,
            before,
            after: None,
            extensions: Vec::new(),
        }
    }

    pub(super) fn interface(&self) -> &Interface {
        &self.interface
    }

    pub(super) fn pin_pending(&self) -> Result<(), EngineError> {
        let folder = paths::pending(self.operation);
        let kernel = &self.engine.kernel;
        kernel.make_folder(&folder)?;
        if let Some(after) = &self.after {
            kernel.pin(&after.handle, &folder.join(recover::AFTER))?;
        }
        kernel.pin(&self.before.handle, &folder.join(recover::before_pin(&self.key, &self.interface)))?;
        Ok(())
    }

    pub(crate) fn leftovers(&self) -> [PathBuf; 2] {
        let (pins, ifindex, id) = (&self.engine.options.libxdp_pins, self.key.ifindex, self.before.id);
        let before = self.engine.dispatcher_folder(ifindex, id);
        let before = before.unwrap_or_else(|_| folder(pins, ifindex, id));
        [before, paths::pending(self.operation)]
    }

    pub(crate) fn settle(mut self) -> Result<(), EngineError> {
        self.settled = true;
        self.engine.step("dispatcher", "remove old");
        retry_once(|| {
            let _lock = self.engine.kernel.lock_folder(&self.engine.options.libxdp_pins)?;
            self.leftovers().iter().try_for_each(|folder| self.engine.remove_tree(folder))
        })
    }
}

impl<K: Kernel> Drop for NewDispatcher<'_, K> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (engine, after) = (self.engine, self.after.as_ref().map(|after| after.id));
        let undo = || -> Result<bool, EngineError> {
            let runs = engine.runs_at(self.interface.netns.as_deref(), &self.key)?;
            if runs.is_some_and(|(running, _)| Some(running) == after) {
                return Ok(false);
            }
            engine.drop_dispatcher(&self.key, &self.interface, after)?;
            engine.remove_tree(&paths::pending(self.operation))?;
            Ok(true)
        };
        let undone = undo().unwrap_or_else(|error| {
            tracing::warn!(%error, "a dispatcher that came to nothing is still there");
            false
        });
        if !undone {
            let (operation, key, interface) = (self.operation, self.key, self.interface.clone());
            engine.try_later(Remainder::Dispatcher { operation, key, interface, after }, None);
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Removes the pins of a dispatcher, unless the hook runs it.
    pub(crate) fn drop_dispatcher(
        &self,
        key: &HookKey,
        interface: &Interface,
        dispatcher: Option<ProgramId>,
    ) -> Result<(), EngineError> {
        let Some(id) = dispatcher else { return Ok(()) };
        let runs = self.runs_at(interface.netns.as_deref(), key)?;
        if runs.is_some_and(|(running, _)| running == id) {
            return Ok(());
        }
        self.remove_tree(&folder(&self.options.libxdp_pins, key.ifindex, id))
    }

    /// Replaces a dispatcher by the new one, atomically for packets. Fails if the hook no longer runs the old one.
    pub(crate) fn change_dispatcher<'a>(
        &'a self,
        new: &NewDispatcher<'a, K>,
        undo: &mut Undo<'a>,
    ) -> Result<(), EngineError> {
        self.step("dispatcher", "swap");
        let (key, mode) = (new.key, new.mode);
        let after = new.after.as_ref().map(|after| &after.handle);
        let put = move |netns: Option<&Path>, to: Option<&K::Handle>, from: Option<&K::Handle>| {
            let replace = || self.kernel.replace_unlinked_xdp(netns, &key, mode, to, from);
            self.swap_and_count(&key, || Ok(self.held_network.during(replace).map(|()| true)?))
        };
        put(new.interface.netns.as_deref(), after, Some(&new.before.handle))?;
        let (before, after) = (new.before.id, new.after.as_ref().map(|after| after.id));
        let (operation, interface) = (new.operation, new.interface.clone());
        undo.push(move || {
            let put_back = || -> Result<(), EngineError> {
                let before = self.loaded_program(before)?;
                let after = after.map(|id| self.loaded_program(id)).transpose()?;
                put(interface.netns.as_deref(), Some(&before), after.as_ref())
            };
            let result = put_back();
            // Dropping the new dispatcher schedules the retry.
            let left = Remainder::Dispatcher { operation, key, interface, after };
            result.map_err(|error| UndoFailure::new(left, error))
        });
        Ok(())
    }
}
