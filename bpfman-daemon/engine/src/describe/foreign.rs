//! Programs of others at a hook: shown beside ours, and named where they are in the way.

use std::collections::HashMap;

use bpfmand_core::{
    FilterFacts, Held, Holder, HookEntry, HookKey, HookKind, Interface, KernelLinkId, ProgramFacts,
    ProgramId, Via,
};
use bpfmand_kernel::Kernel;

use crate::describe::details::HookEntryDetails;
use crate::state::records::{Entry, HookRecord};
use crate::{Engine, EngineError, paths};

/// Most processes that are named for one entry.
const MOST_HOLDERS: usize = 8;

/// What the records say of a chain's entry, and the link that is there.
#[derive(Clone, Copy)]
struct ChainEntry {
    program: ProgramId,
    link: Option<KernelLinkId>,
    filter: Option<(u16, u32)>,
    dispatcher: bool,
}

/// What of a hook is ours.
#[derive(Default)]
struct Ours {
    chain: Option<ChainEntry>,
    /// Links of type tcx.
    links: Vec<KernelLinkId>,
}

impl Ours {
    fn includes(&self, entry: &HookEntry) -> bool {
        match &entry.via {
            Via::XdpLink { links, .. } => self.chain.is_some_and(|ours| {
                entry.program == Some(ours.program) && ours.link.is_some_and(|link| links.contains(&link))
            }),
            Via::TcxLink { link } => {
                self.links.contains(link) || self.chain.is_some_and(|ours| ours.link == Some(*link))
            }
            Via::Filter(facts) => self.chain.is_some_and(|ours| {
                entry.program == Some(ours.program) && ours.filter == Some((facts.priority, facts.handle))
            }),
            // A dispatcher with ours in it; others may be in it too.
            Via::XdpNetlink { .. } => {
                self.chain.is_some_and(|ours| ours.dispatcher && entry.program == Some(ours.program))
            }
            Via::TcxProgram => false,
        }
    }

    /// Which of an entry's links attaches it: ours, or the only one that can be it.
    fn link_of(&self, entry: &HookEntry) -> Option<KernelLinkId> {
        match &entry.via {
            Via::XdpLink { links, .. } => match (&links[..], self.chain.and_then(|ours| ours.link)) {
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
            program_name: facts.as_ref().map(|facts| facts.name.clone()).unwrap_or_default(),
            program_tag: facts.as_ref().map(ProgramFacts::tag_text).unwrap_or_default(),
            via: via(&entry.via),
            detail: detail(&entry.via),
            kernel_link: link,
            held_by: if is_ours { Vec::new() } else { self.holders(entry.program, link) },
        })
    }

    /// Our own link or filter at a hook. A chain of type tc and links of type tcx are at the same place.
    fn ours_at(&self, key: &HookKey) -> Result<Ours, EngineError> {
        let kinds = match key.kind {
            HookKind::Xdp => vec![HookKind::Xdp],
            HookKind::Tc(direction) | HookKind::Tcx(direction) => {
                vec![HookKind::Tc(direction), HookKind::Tcx(direction)]
            }
        };
        let mut ours = Ours::default();
        for kind in kinds {
            let key = HookKey { kind, ..*key };
            let (hook, links) = {
                let state = self.state();
                (state.hooks.get(&key).cloned(), state.chain(&key))
            };
            if let Some(hook) = hook {
                ours.chain = Some(self.chain_entry(&hook)?);
            }
            if matches!(kind, HookKind::Tcx(_)) {
                for link in links {
                    if let Some(handle) = self.kernel.open_pin(&paths::link(link.id))? {
                        ours.links.push(self.kernel.link_of(&handle)?.id);
                    }
                }
            }
        }
        Ok(ours)
    }

    fn chain_entry(&self, hook: &HookRecord) -> Result<ChainEntry, EngineError> {
        let (link, filter) = match hook.entry {
            Entry::Link => {
                let handle = self.kernel.open_pin(&paths::hook_link(&hook.key))?;
                (handle.map(|handle| self.kernel.link_of(&handle)).transpose()?.map(|facts| facts.id), None)
            }
            Entry::Filter { priority, handle } => (None, Some((priority, handle))),
            Entry::Dispatcher => (None, None),
        };
        let dispatcher = hook.entry == Entry::Dispatcher;
        Ok(ChainEntry { program: hook.program, link, filter, dispatcher })
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

/// The name of a way to be attached.
pub const fn via(via: &Via) -> &'static str {
    match via {
        Via::XdpLink { .. } => "xdp link",
        Via::XdpNetlink { .. } => "xdp netlink",
        Via::TcxLink { .. } => "tcx link",
        Via::TcxProgram => "tcx program",
        Via::Filter(_) => "filter",
    }
}

/// What else is to be said of it.
pub fn detail(via: &Via) -> String {
    match via {
        Via::XdpLink { mode, .. } | Via::XdpNetlink { mode } => mode.to_string(),
        Via::TcxLink { .. } | Via::TcxProgram => String::new(),
        Via::Filter(filter) => filter_detail(filter),
    }
}

fn filter_detail(filter: &FilterFacts) -> String {
    const ALL_PROTOCOLS: u16 = 3;
    let mut text = format!("priority {} handle {:#x}", filter.priority, filter.handle);
    if filter.kind != "bpf" {
        text.push_str(&format!(" {}", filter.kind));
    }
    if filter.direct_action {
        text.push_str(" direct-action");
    }
    if filter.protocol != ALL_PROTOCOLS {
        text.push_str(&format!(" protocol {:#06x}", filter.protocol));
    }
    if filter.chain != 0 {
        text.push_str(&format!(" chain {}", filter.chain));
    }
    text
}
