//! Third-party programs at a hook: listed beside the daemon's, and named where they cause a conflict.

use std::collections::BTreeSet;
use std::sync::Arc;

use bpfman_model::{
    Held, Holder, HookAttachment, HookEntry, HookKey, HookKind, Interface, InterfaceFacts, KernelLinkId,
    ProgramId,
};
use bpfmand_kernel::{FoundNamespace, Kernel, ObjectHolders};

use crate::describe::details::HookEntryDetails;
use crate::state::HookPresence;
use crate::state::records::{Entry, HookRecord};
use crate::{Engine, EngineError, paths};

const MAX_HOLDERS: usize = 8;

#[derive(Default)]
struct Ours {
    chain: Option<Arc<HookRecord>>,
    chain_link: Option<KernelLinkId>,
    links: Vec<KernelLinkId>,
}

impl Ours {
    fn includes(&self, entry: &HookEntry) -> bool {
        let runs_chain = |hook: &HookRecord| entry.program == Some(hook.program);
        match (&entry.via, self.chain.as_deref()) {
            (HookAttachment::XdpLink { links, .. }, Some(hook)) => {
                runs_chain(hook) && self.chain_link.is_some_and(|link| links.contains(&link))
            }
            (HookAttachment::TcxLink { link }, _) => {
                self.links.contains(link) || self.chain_link == Some(*link)
            }
            (HookAttachment::Filter(facts), Some(hook)) => {
                let (priority, handle) = (facts.priority, facts.handle);
                runs_chain(hook) && hook.entry == Entry::Filter { priority, handle }
            }
            (HookAttachment::XdpNetlink { .. }, Some(hook)) => {
                runs_chain(hook) && hook.entry == Entry::Dispatcher
            }
            _ => false,
        }
    }

    fn link_of(&self, entry: &HookEntry) -> Option<KernelLinkId> {
        match &entry.via {
            HookAttachment::XdpLink { links, .. } => match (&links[..], self.chain_link) {
                (_, Some(link)) if links.contains(&link) => Some(link),
                ([only], _) => Some(*only),
                _ => None,
            },
            HookAttachment::TcxLink { link } => Some(*link),
            HookAttachment::XdpNetlink { .. } | HookAttachment::TcxProgram | HookAttachment::Filter(_) => {
                None
            }
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Returns the daemon's and third-party programs at a hook, in execution order. A chain is one entry.
    pub fn hook_entries(
        &self,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<Vec<HookEntryDetails>, EngineError> {
        let key = self.hook_by_name(interface, kind)?;
        let entries = match self.at_hook_key(interface.netns.as_deref(), &key, None)? {
            HookPresence::There(entries) => entries,
            HookPresence::Gone | HookPresence::Unreachable => return Ok(Vec::new()),
        };
        let ours = self.own_hook_at(&key)?;
        entries.iter().map(|entry| self.entry_details(entry, &ours)).collect()
    }

    /// Returns the interfaces of the network namespace of a hook; none if no path leads there.
    pub fn interfaces_beside(
        &self,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<Vec<InterfaceFacts>, EngineError> {
        let key = self.hook_by_name(interface, kind)?;
        let Some(home) = key.netns.id() else { return Ok(Vec::new()) };
        let path = match self.kernel.find_namespace(home, interface.netns.as_deref(), None)? {
            FoundNamespace::At(path) => Some(path),
            FoundNamespace::Own => None,
            FoundNamespace::Ended | FoundNamespace::NotFound => return Ok(Vec::new()),
        };
        Ok(self.kernel.interfaces(path.as_deref())?)
    }

    fn entry_details(&self, entry: &HookEntry, ours: &Ours) -> Result<HookEntryDetails, EngineError> {
        let facts = entry.program.map(|id| self.kernel.program(id)).transpose()?.flatten();
        let link = ours.link_of(entry);
        let is_ours = ours.includes(entry);
        Ok(HookEntryDetails {
            ours: is_ours,
            program: entry.program,
            facts,
            via: entry.via.clone(),
            kernel_link: link,
            held_by: if is_ours { Vec::new() } else { self.holders(entry.program, link) },
        })
    }

    /// Returns the daemon's objects at a hook. A tc chain and tcx links share one position.
    fn own_hook_at(&self, key: &HookKey) -> Result<Ours, EngineError> {
        let mut ours = Ours::default();
        for key in BTreeSet::from([key.of_chain(), key.of_tcx()]) {
            let (hook, links) = {
                let state = self.state();
                (state.hooks.get(&key).cloned(), state.chain(&key))
            };
            if let Some(hook) = hook {
                if hook.entry == Entry::Link {
                    ours.chain_link = self.observe_entry(&hook)?.link.map(|(_, facts)| facts.id);
                }
                ours.chain = Some(hook);
            }
            if matches!(key.kind, HookKind::Tcx(_)) {
                for link in links {
                    ours.links.extend(self.pinned_link(&paths::link(link.id))?.map(|facts| facts.id));
                }
            }
        }
        Ok(ours)
    }

    pub(crate) fn holders(&self, program: Option<ProgramId>, link: Option<KernelLinkId>) -> Vec<String> {
        let mut found = Vec::new();
        let link = link.map(Held::Link);
        for held in link.into_iter().chain(program.map(Held::Program)) {
            match self.kernel.holders(held) {
                Ok(holders) => found.extend(holders),
                Err(error) => tracing::debug!(%error, "who holds a program is unknown"),
            }
        }
        holder_texts(found)
    }
}

/// Returns the holders of a program and its link, from the result of one search of all processes.
pub(crate) fn holders_among(
    all: &ObjectHolders,
    program: ProgramId,
    link: Option<KernelLinkId>,
) -> Vec<String> {
    let of_link = link.and_then(|link| all.links.get(&link.0));
    let found = of_link.into_iter().chain(all.programs.get(&program.0));
    holder_texts(found.flatten().cloned().collect())
}

fn holder_texts(mut found: Vec<Holder>) -> Vec<String> {
    let own = std::process::id();
    found.retain(|holder| holder.pid != own);
    found.sort_by_key(|holder| holder.pid);
    found.dedup_by_key(|holder| holder.pid);
    found.iter().take(MAX_HOLDERS).map(holder_text).collect()
}

fn holder_text(holder: &Holder) -> String {
    match &holder.unit {
        Some(unit) => format!("{} ({}, {unit})", holder.command, holder.pid),
        None => format!("{} ({})", holder.command, holder.pid),
    }
}
