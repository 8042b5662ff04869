//! Hooks that are held by programs of others: who is in the way, and what can be done.

use bpfmand_core::{
    AttachPoint, HookEntry, HookKey, HookKind, Interface, KernelLinkId, Owner, ProgramFacts, ProgramId, Via,
    XdpRunsIn,
};
use bpfmand_kernel::{Kernel, KernelError};
use bpfmand_splice::{DISPATCHER_CONFIG_VERSION, DispatcherConfig};

use crate::error::{Attached, Dispatcher, DispatcherProgram, HookConflict};
use crate::state::records::LinkRecord;
use crate::{Engine, EngineError, paths};

impl<K: Kernel> Engine<K> {
    /// Attaches to a hook that takes one program. Where another is there, it is named.
    ///
    /// The kernel alone decides whether the hook is free; the look at who holds it comes after that, and if the other one
    /// has left in between, the attach is tried again.
    pub(crate) fn attach_where_free(
        &self,
        key: &HookKey,
        interface: &Interface,
        mut attach: impl FnMut() -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        const MOST_TRIES: usize = 4;
        let mut left = MOST_TRIES;
        loop {
            left -= 1;
            match attach() {
                Err(EngineError::Kernel(KernelError::HookHeld { .. })) => {}
                other => return other,
            }
            let contents = self.kernel.hook_contents(interface.netns.as_deref(), key)?;
            let entry = contents.entries.first();
            // It went in between: ours is next.
            if entry.is_some() || left == 0 {
                return Err(self.conflict(key, interface, entry));
            }
        }
    }

    /// Names a program of others at a hook that takes one program, before a chain is built that cannot be attached. What
    /// runs `ours` is a link of ours that is about to go. Where the look fails the kernel decides.
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
        // A program on the card leaves room for one in the driver or the stack.
        let on_card = |via: &Via| matches!(via, Via::XdpLink { mode, .. } | Via::XdpNetlink { mode } if *mode == XdpRunsIn::Offload);
        let is_theirs =
            |entry: &&HookEntry| (ours.is_none() || entry.program != ours) && !on_card(&entry.via);
        let Some(entry) = contents.entries.iter().find(is_theirs) else { return Ok(()) };
        match self.conflict(key, interface, Some(entry)) {
            // Ours may join it.
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
            Some(Via::XdpLink { links, .. }) if self.has_hook_link(links) => Attached::Moved,
            Some(Via::XdpLink { links, mode }) => Attached::Link { links: links.clone(), mode: *mode },
            Some(Via::XdpNetlink { mode }) => Attached::Netlink { mode: *mode },
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

    /// Returns whether the kernel's link of one of our hooks is among these.
    fn has_hook_link(&self, links: &[KernelLinkId]) -> bool {
        let hooks: Vec<HookKey> = self.state().hooks.keys().copied().collect();
        let link_of = |hook: &HookKey| self.pinned_link(&paths::hook_link(hook)).ok().flatten();
        hooks.iter().filter_map(link_of).any(|link| links.contains(&link.id))
    }

    /// Names a link of ours where netfilter takes no second program of the priority that `link` has. The link of another owner
    /// is left out, unless `link` is root's: only that owner and root can detach it.
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

    /// What can be told of a dispatcher of libxdp.
    fn dispatcher(
        &self,
        key: &HookKey,
        program: &ProgramFacts,
        mode: XdpRunsIn,
        is_linked: bool,
    ) -> Option<Dispatcher> {
        let glance = self.glance_at_dispatcher(key, program).ok().flatten()?;
        // Without the lock it is told as well as can be: nothing is decided by it.
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
