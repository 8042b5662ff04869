//! Programs of others at a hook: shown beside ours, and named where they are in the way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bpfmand_core::{Held, Holder, HookEntry, HookKey, HookKind, Interface, KernelLinkId, ProgramId, Via};
use bpfmand_kernel::Kernel;

use crate::describe::details::HookEntryDetails;
use crate::state::records::{Entry, HookRecord};
use crate::{Engine, EngineError, paths};

/// Most processes that are named for one entry.
const MOST_HOLDERS: usize = 8;

/// What of a hook is ours.
#[derive(Default)]
struct Ours {
    chain: Option<Arc<HookRecord>>,
    /// By which the chain is entered.
    chain_link: Option<KernelLinkId>,
    /// Links of type tcx.
    links: Vec<KernelLinkId>,
}

impl Ours {
    fn includes(&self, entry: &HookEntry) -> bool {
        let runs_chain = |hook: &HookRecord| entry.program == Some(hook.program);
        match (&entry.via, self.chain.as_deref()) {
            (Via::XdpLink { links, .. }, Some(hook)) => {
                runs_chain(hook) && self.chain_link.is_some_and(|link| links.contains(&link))
            }
            (Via::TcxLink { link }, _) => self.links.contains(link) || self.chain_link == Some(*link),
            (Via::Filter(facts), Some(hook)) => {
                let (priority, handle) = (facts.priority, facts.handle);
                runs_chain(hook) && hook.entry == Entry::Filter { priority, handle }
            }
            // A dispatcher with ours in it; others may be in it too.
            (Via::XdpNetlink { .. }, Some(hook)) => runs_chain(hook) && hook.entry == Entry::Dispatcher,
            _ => false,
        }
    }

    /// Which of an entry's links attaches it: ours, or the only one that can be it.
    fn link_of(&self, entry: &HookEntry) -> Option<KernelLinkId> {
        match &entry.via {
            Via::XdpLink { links, .. } => match (&links[..], self.chain_link) {
                (_, Some(link)) if links.contains(&link) => Some(link),
                ([only], _) => Some(*only),
                _ => None,
            },
            Via::TcxLink { link } => Some(*link),
            Via::XdpNetlink { .. } | Via::TcxProgram | Via::Filter(_) => None,
        }
    }
}

impl<K: Kernel> Engine<K> {
    /// Everything that runs at a hook, ours and others', in the order in which packets meet it. A chain of ours is one
    /// entry.
    ///
    /// # Errors
    /// The interface does not exist, or the kernel refuses to tell.
    pub fn hook_entries(
        &self,
        interface: &Interface,
        kind: HookKind,
    ) -> Result<Vec<HookEntryDetails>, EngineError> {
        let key = self.kernel.find_hook(interface, kind)?;
        let contents = self.kernel.hook_contents(interface.netns.as_deref(), &key)?;
        let ours = self.ours_at(&key)?;
        contents.entries.iter().map(|entry| self.entry_details(entry, &ours)).collect()
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

    /// Our own link or filter at a hook. A chain of type tc and links of type tcx are at the same place.
    fn ours_at(&self, key: &HookKey) -> Result<Ours, EngineError> {
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

    /// Who holds a program or link, for people. Not being able to tell is no failure: it is a hint.
    pub(crate) fn holders(&self, program: Option<ProgramId>, link: Option<KernelLinkId>) -> Vec<String> {
        let own = std::process::id();
        let mut found: HashMap<u32, Holder> = HashMap::new();
        let link = link.map(Held::Link);
        for held in link.into_iter().chain(program.map(Held::Program)) {
            match self.kernel.holders(held) {
                Ok(holders) => found.extend(holders.into_iter().map(|holder| (holder.pid, holder))),
                Err(error) => tracing::debug!(%error, "who holds a program cannot be told"),
            }
        }
        let mut found: Vec<Holder> = found.into_values().filter(|holder| holder.pid != own).collect();
        found.sort_unstable_by_key(|holder| holder.pid);
        found.iter().take(MOST_HOLDERS).map(holder_text).collect()
    }
}

fn holder_text(holder: &Holder) -> String {
    match &holder.unit {
        Some(unit) => format!("{} ({}, {unit})", holder.command, holder.pid),
        None => format!("{} ({})", holder.command, holder.pid),
    }
}
