//! What is attached to interfaces: chains of hooks, and links of type tcx by themselves.

use std::fmt;
use std::path::PathBuf;

use bpfmand_core::{HookKey, HookKind, Interface, LinkId};

use crate::state::{State, paths};

/// A chain or a tcx link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainOrLink {
    Chain(HookKey),
    Link(LinkId),
}

/// One of them, and where its record says that it is.
pub struct AtInterface<'s> {
    pub what: ChainOrLink,
    /// None while it waits for its interface.
    pub key: Option<HookKey>,
    pub interface: &'s Interface,
}

impl ChainOrLink {
    /// Where its link is pinned.
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
    /// All chains, then all tcx links.
    pub fn attached(&self) -> impl Iterator<Item = AtInterface<'_>> {
        let chains = self.hooks.values().map(|hook| AtInterface {
            what: ChainOrLink::Chain(hook.key),
            key: hook.key.netns.id().map(|_| hook.key),
            interface: &hook.interface,
        });
        let links = self.links.values().filter_map(|link| match link.point.hook() {
            Some((interface, HookKind::Tcx(_))) => {
                Some(AtInterface { what: ChainOrLink::Link(link.id), key: link.hook, interface })
            }
            _ => None,
        });
        chains.chain(links)
    }
}
