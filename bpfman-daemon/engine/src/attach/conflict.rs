//! Hooks that third-party programs hold: reports the holder and the remedy.

use bpfman_model::{
    AttachPoint, HookAttachment, HookEntry, HookKey, HookKind, Interface, KernelLinkId, Owner, ProgramFacts,
    ProgramId, XdpRunsIn,
};
use bpfmand_kernel::{Kernel, KernelError};
use bpfmand_splice::{DISPATCHER_CONFIG_VERSION, DispatcherConfig};

use crate::error::{Attached, Dispatcher, DispatcherProgram, HookConflict};
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Attaches to a hook that accepts one program. Only the kernel knows whether it is free: after a refusal, the
    /// holder is queried, and the attach is tried again if there is none.
    pub(crate) fn attach_where_free(
        &self,
        key: &HookKey,
        interface: &Interface,
        mut attach: impl FnMut() -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        const MAX_ATTEMPTS: usize = 4;
        let mut left = MAX_ATTEMPTS;
        loop {
            left -= 1;
            match attach() {
                Err(EngineError::Kernel(KernelError::HookHeld { .. })) => {}
                other => return other,
            }
            let contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
            let entry = contents.entries.first();
            if entry.is_some() || left == 0 {
                return Err(self.conflict(key, interface, entry));
            }
        }
    }

    /// Refuses a hook that a third party holds, before a chain is built for it. A link that runs `ours` does not count,
    /// since it is about to be removed.
    pub(crate) fn ensure_free(
        &self,
        key: &HookKey,
        interface: &Interface,
        ours: Option<ProgramId>,
    ) -> Result<(), EngineError> {
        if key.kind != HookKind::Xdp {
            return Ok(());
        }
        let Ok(contents) = self.kernel.hook_contents(interface.netns.as_deref(), key) else { return Ok(()) };
        // An offloaded program leaves the driver or generic hook free.
        let on_card = |via: &HookAttachment| matches!(via, HookAttachment::XdpLink { mode, .. } | HookAttachment::XdpNetlink { mode } if *mode == XdpRunsIn::Offload);
        let is_theirs =
            |entry: &&HookEntry| (ours.is_none() || entry.program != ours) && !on_card(&entry.via);
        let Some(entry) = contents.entries.iter().find(is_theirs) else { return Ok(()) };
        match self.conflict(key, interface, Some(entry)) {
            EngineError::HookHeld(held) if matches!(held.attached, Attached::LibxdpDispatcher(_)) => Ok(()),
            error => Err(error),
        }
    }

    pub(crate) fn conflict(
        &self,
        key: &HookKey,
        interface: &Interface,
        entry: Option<&HookEntry>,
    ) -> EngineError {
        let program =
            entry.and_then(|entry| entry.program).and_then(|id| self.kernel.program(id).unwrap_or(None));
        let attached = match entry.map(|entry| &entry.via) {
            Some(HookAttachment::XdpLink { links, .. }) if self.has_hook_link(links) => Attached::Moved,
            Some(HookAttachment::XdpLink { links, mode }) => {
                Attached::Link { links: links.clone(), mode: *mode }
            }
            Some(HookAttachment::XdpNetlink { mode }) => Attached::Netlink { mode: *mode },
            _ => Attached::Unknown,
        };
        let (mode, link) = match &attached {
            Attached::Link { links, mode } => (Some(*mode), links.first().copied()),
            Attached::Netlink { mode } => (Some(*mode), None),
            _ => (None, None),
        };
        let dispatcher = program.as_ref().zip(mode).and_then(|(program, mode)| {
            let is_linked = matches!(attached, Attached::Link { .. });
            self.dispatcher(key, program, mode, is_linked)
        });
        EngineError::HookHeld(Box::new(HookConflict {
            hook: key.kind.at(interface),
            interface: interface.clone(),
            held_by: self.holders(program.as_ref().map(|program| program.id), link),
            program,
            attached: dispatcher.map_or(attached, Attached::LibxdpDispatcher),
        }))
    }

    fn has_hook_link(&self, links: &[KernelLinkId]) -> bool {
        let hooks: Vec<HookKey> = self.state().hooks.keys().copied().collect();
        let link_of = |hook: &HookKey| self.pinned_link(&paths::hook_link(hook)).ok().flatten();
        hooks.iter().filter_map(link_of).any(|link| links.contains(&link.id))
    }

    /// Names our netfilter link of this priority, unless it is another owner's: only that owner and root can detach it.
    pub(crate) fn with_own_holder(&self, link: &LinkRecord, error: EngineError) -> EngineError {
        let (
            AttachPoint::Netfilter { netns, place },
            EngineError::Kernel(KernelError::HookHeld { hook, .. }),
        ) = (&link.point, &error)
        else {
            return error;
        };
        let is_there = |other: &LinkRecord| match &other.point {
            AttachPoint::Netfilter { netns: path, place: at } => {
                other.id != link.id
                    && (at.family, at.hook, at.priority) == (place.family, place.hook, place.priority)
                    && other.namespace.map_or(path == netns, |home| Some(home) == link.namespace)
            }
            _ => false,
        };
        let holder = self.state().links.values().find(|other| is_there(other)).map(|other| other.id);
        let Some(holder) = holder else { return error };
        let owner = link.owner.clone().or_else(|| self.owner_of_link(link.id));
        let is_named = owner == Some(Owner::Root) || self.owner_of_link(holder) == owner;
        EngineError::HeldByOurs { hook: hook.clone(), link: is_named.then_some(holder) }
    }

    fn dispatcher(
        &self,
        key: &HookKey,
        program: &ProgramFacts,
        mode: XdpRunsIn,
        is_linked: bool,
    ) -> Option<Dispatcher> {
        let glance = self.read_partial_dispatcher(key, program).ok().flatten()?;
        // Continue without the lock: this is information only.
        let _lock = self.kernel.lock_folder(&self.options.libxdp_pins).ok();
        let programs = self.slots_of(&glance).unwrap_or_default().into_iter().map(|slot| DispatcherProgram {
            priority: slot.slot.priority,
            id: slot.program.id,
            name: slot.program.name,
        });
        let (version, count) = match &glance.config {
            DispatcherConfig::Slots(slots) => (Some(DISPATCHER_CONFIG_VERSION), Some(slots.len())),
            DispatcherConfig::Version(version) => (Some(*version), None),
            DispatcherConfig::Other => (None, None),
        };
        let cannot_join = if !self.kernel.features().freplace {
            Some("this kernel lets no program take the place of another's function (freplace)")
        } else if is_linked {
            Some("it is attached by a link, which libxdp does not do")
        } else {
            None
        };
        Some(Dispatcher {
            version,
            count,
            programs: programs.collect(),
            folder: Some(glance.folder)
                .filter(|folder| self.kernel.list_folder(folder).is_ok_and(|names| !names.is_empty())),
            cannot_join,
            mode,
        })
    }
}
