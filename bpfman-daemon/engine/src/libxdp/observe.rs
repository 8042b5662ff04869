//! Reads the dispatcher at a hook.

use std::path::PathBuf;

use bpfman_model::{Hint, HookAttachment, HookKey, Interface, ProgramFacts, ProgramId, XdpRunsIn};
use bpfmand_kernel::Kernel;
use bpfmand_splice::{
    DISPATCHER_CONFIG_VERSION, DISPATCHER_NAME, DispatcherConfig, DispatcherSlot, read_dispatcher_config,
};

use crate::libxdp::program_pin;
use crate::state::records::HookRecord;
use crate::{Engine, EngineError};

pub struct DispatcherAtHook<H> {
    pub program: ProgramFacts,
    pub handle: H,
    pub mode: XdpRunsIn,
    pub slots: Vec<SlotProgram<H>>,
}

pub struct SlotProgram<H> {
    pub slot: DispatcherSlot,
    pub program: ProgramFacts,
    pub handle: H,
}

pub struct PartialDispatcher {
    pub config: DispatcherConfig,
    pub folder: PathBuf,
}

impl<H> DispatcherAtHook<H> {
    pub fn has(&self, id: ProgramId, tag: [u8; 8]) -> bool {
        self.slots.iter().any(|slot| slot.program.id == id && slot.program.tag == tag)
    }

    pub fn has_all_of(&self, hook: &HookRecord) -> bool {
        hook.extensions.iter().all(|extension| self.has(extension.program, extension.tag))
    }
}

impl<K: Kernel> Engine<K> {
    /// Recognizes a dispatcher by its name and the magic number in its configuration; older ones by name alone.
    pub(crate) fn read_partial_dispatcher(
        &self,
        key: &HookKey,
        program: &ProgramFacts,
    ) -> Result<Option<PartialDispatcher>, EngineError> {
        if program.name != DISPATCHER_NAME {
            return Ok(None);
        }
        let value = match program.map_ids.first() {
            Some(id) => {
                let map = self.kernel.open_map(*id)?;
                self.kernel.map_entries(&map, 1)?.into_iter().next().map(|entry| entry.value)
            }
            None => None,
        };
        let config = value.map_or(DispatcherConfig::Other, |value| read_dispatcher_config(&value));
        Ok(Some(PartialDispatcher { config, folder: self.dispatcher_folder(key.ifindex, program.id)? }))
    }

    /// Returns the programs in the slots that have pins. For decisions, lock the folder of all dispatchers.
    pub(crate) fn slots_of(
        &self,
        glance: &PartialDispatcher,
    ) -> Result<Vec<SlotProgram<K::Handle>>, EngineError> {
        let DispatcherConfig::Slots(slots) = &glance.config else { return Ok(Vec::new()) };
        let mut found = Vec::with_capacity(slots.len());
        for (number, slot) in slots.iter().enumerate() {
            if let Some(handle) = self.kernel.open_pin(&glance.folder.join(program_pin(number)))? {
                let program = self.kernel.program_of(&handle)?;
                found.push(SlotProgram { slot: *slot, program, handle });
            }
        }
        Ok(found)
    }

    /// Returns a hook's dispatcher; `None` if libxdp has none. Fails for other versions or missing pins.
    pub(crate) fn changeable_dispatcher(
        &self,
        interface: &Interface,
        key: &HookKey,
    ) -> Result<Option<DispatcherAtHook<K::Handle>>, EngineError> {
        let contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
        let unlinked = contents.entries.iter().find_map(|entry| match (&entry.via, entry.program) {
            (HookAttachment::XdpNetlink { mode }, Some(id)) if *mode != XdpRunsIn::Offload => {
                Some((*mode, id))
            }
            _ => None,
        });
        let Some((mode, id)) = unlinked else { return Ok(None) };
        let Some(handle) = self.kernel.open_program(id)? else { return Ok(None) };
        let program = self.kernel.program_of(&handle)?;
        let Some(glance) = self.read_partial_dispatcher(key, &program)? else { return Ok(None) };
        let cannot = |reason, hint| EngineError::Dispatcher { hook: key.kind.at(interface), reason, hint };
        let unload = || Hint::UnloadDispatcher(interface.clone());
        let count = match &glance.config {
            DispatcherConfig::Slots(slots) => slots.len(),
            DispatcherConfig::Version(version) => {
                return Err(cannot(
                    format!(
                        "it is of version {version} of the protocol, and bpfman knows version {}",
                        DISPATCHER_CONFIG_VERSION
                    ),
                    unload(),
                ));
            }
            DispatcherConfig::Other => {
                return Err(cannot("it is of a version of the protocol before 2".to_owned(), unload()));
            }
        };
        let slots = self.slots_of(&glance)?;
        if slots.len() != count {
            return Err(cannot(
                format!("of its {count} programs {} are pinned in {}", slots.len(), glance.folder.display()),
                "if libxdp keeps its pins elsewhere (LIBXDP_BPFFS), start bpfmand with the same LIBXDP_BPFFS"
                    .into(),
            ));
        }
        Ok(Some(DispatcherAtHook { program, handle, mode, slots }))
    }
}
