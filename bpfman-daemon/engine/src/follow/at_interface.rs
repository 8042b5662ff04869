//! Attachments at interfaces: chains of hooks, and single links of type tcx.

use std::fmt;
use std::path::PathBuf;

use bpfman_model::{HookKey, HookKind, Interface, LinkId};

use crate::state::{State, paths};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainOrLink {
    Chain(HookKey),
    Link(LinkId),
}

pub struct AtInterface<'s> {
    pub what: ChainOrLink,
    pub key: Option<HookKey>,
    pub interface: &'s Interface,
    /// Other names of the interface: members can name one namespace by several paths.
    pub others: Vec<&'s Interface>,
}

impl<'s> AtInterface<'s> {
    pub fn names(&self) -> impl Iterator<Item = &'s Interface> {
        std::iter::once(self.interface).chain(self.others.iter().copied())
    }
}

impl ChainOrLink {
    pub fn pin(self) -> PathBuf {
        match self {
            Self::Chain(key) => paths::hook_link(&key),
            Self::Link(id) => paths::link(id),
        }
    }
}

impl fmt::Display for ChainOrLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(key) => write!(f, "interface {}", key.ifindex),
            Self::Link(id) => write!(f, "link {id}"),
        }
    }
}

impl State {
    pub fn attached(&self) -> impl Iterator<Item = AtInterface<'_>> {
        let chains = self.hooks.values().map(|hook| AtInterface {
            what: ChainOrLink::Chain(hook.key),
            key: hook.key.netns.id().map(|_| hook.key),
            interface: &hook.interface,
            others: self.members_names(hook.key),
        });
        let links = self.links.values().filter_map(|link| match link.point.hook() {
            Some((interface, HookKind::Tcx(_))) => {
                let (what, others) = (ChainOrLink::Link(link.id), Vec::new());
                Some(AtInterface { what, key: link.hook, interface, others })
            }
            _ => None,
        });
        chains.chain(links)
    }

    fn members_names(&self, key: HookKey) -> Vec<&Interface> {
        let named = self.links.of_hook(&key).filter_map(|link| link.point.hook());
        named.map(|(interface, _)| interface).collect()
    }
}
