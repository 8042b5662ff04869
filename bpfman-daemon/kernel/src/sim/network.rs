//! Network namespaces, their interfaces, and the links at their hooks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use bpfmand_core::{
    AddressedInterface, Direction, HookKey, HookKind, IfIndex, Interface, InterfaceFacts, NetnsId, XdpRunsIn,
};

use super::groups::GroupHook;
use super::objects::{Key, SimLinkTarget};
use crate::KernelError;

/// One namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    pub id: NetnsId,
    interfaces: BTreeMap<String, IfIndex>,
    up: BTreeSet<IfIndex>,
    last: u32,
}

/// The one interface that every namespace has from the beginning.
const LOOPBACK: (&str, IfIndex) = ("lo", IfIndex(1));

impl Namespace {
    const fn new(id: NetnsId) -> Self {
        Self { id, interfaces: BTreeMap::new(), up: BTreeSet::new(), last: LOOPBACK.1.0 }
    }

    pub fn index(&self, name: &str) -> Option<IfIndex> {
        if name == LOOPBACK.0 { Some(LOOPBACK.1) } else { self.interfaces.get(name).copied() }
    }

    pub fn has(&self, ifindex: IfIndex) -> bool {
        ifindex == LOOPBACK.1 || self.interfaces.values().any(|found| *found == ifindex)
    }

    /// All interfaces, by number.
    pub fn list(&self) -> Vec<InterfaceFacts> {
        let facts = |name: &str, ifindex, kind: Option<&str>| InterfaceFacts {
            name: name.to_owned(),
            ifindex,
            up: self.up.contains(&ifindex),
            kind: kind.map(str::to_owned),
        };
        let mut found = vec![facts(LOOPBACK.0, LOOPBACK.1, None)];
        found.extend(self.interfaces.iter().map(|(name, ifindex)| facts(name, *ifindex, Some("veth"))));
        found.sort_by_key(|interface| interface.ifindex);
        found
    }

    /// All interfaces as a watch of many namespaces tells them, by number; none has an address.
    pub fn addressed(&self) -> Vec<AddressedInterface> {
        let addressed = |facts| AddressedInterface { facts, addresses: Vec::new() };
        self.list().into_iter().map(addressed).collect()
    }
}

/// What attaches a program to a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookedBy {
    Link(Key),
    /// Without a link: the program itself.
    Program(Key),
}

/// The programs of one tcx hook.
#[derive(Debug)]
pub(super) struct TcxHook {
    pub revision: u64,
    pub entries: Vec<HookedBy>,
}

impl Default for TcxHook {
    fn default() -> Self {
        Self { revision: 1, entries: Vec::new() }
    }
}

/// One direction of one interface.
pub(super) type TcPlace = (NetnsId, IfIndex, Direction);

/// All of the network.
#[derive(Debug)]
pub(super) struct SimNetwork {
    /// By the namespace's file; none for the daemon's own.
    namespaces: BTreeMap<Option<PathBuf>, Namespace>,
    pub xdp: BTreeMap<(NetnsId, IfIndex), (HookedBy, XdpRunsIn)>,
    pub tcx: BTreeMap<TcPlace, TcxHook>,
    /// By the hook, in words.
    pub groups: BTreeMap<String, GroupHook>,
    made: u64,
    /// How often watches lost notices.
    pub overruns: u64,
}

impl SimNetwork {
    pub fn new(own: NetnsId) -> Self {
        let namespaces = BTreeMap::from([(None, Namespace::new(own))]);
        Self {
            namespaces,
            xdp: BTreeMap::new(),
            tcx: BTreeMap::new(),
            groups: BTreeMap::new(),
            made: 0,
            overruns: 0,
        }
    }

    pub fn add_namespace(&mut self, path: &Path) -> NetnsId {
        self.made += 1;
        let id = NetnsId { inode: 4_026_532_000 + self.made, cookie: 0x1000 + self.made };
        self.namespaces.insert(Some(path.to_owned()), Namespace::new(id));
        id
    }

    /// Takes a namespace away; tells where it was, so that what is attached there can be ended.
    pub fn remove_namespace(&mut self, path: &Path) -> Vec<(NetnsId, IfIndex)> {
        self.namespaces.remove(&Some(path.to_owned())).map_or_else(Vec::new, |namespace| {
            namespace.interfaces.values().map(|ifindex| (namespace.id, *ifindex)).collect()
        })
    }

    pub fn add_interface(&mut self, netns: Option<&Path>, name: &str) -> Option<IfIndex> {
        let namespace = self.namespaces.get_mut(&netns.map(Path::to_owned))?;
        namespace.last += 1;
        let ifindex = IfIndex(namespace.last);
        namespace.interfaces.insert(name.to_owned(), ifindex);
        Some(ifindex)
    }

    pub fn remove_interface(&mut self, netns: Option<&Path>, name: &str) -> Option<(NetnsId, IfIndex)> {
        let namespace = self.namespaces.get_mut(&netns.map(Path::to_owned))?;
        let ifindex = namespace.interfaces.remove(name)?;
        namespace.up.remove(&ifindex);
        Some((namespace.id, ifindex))
    }

    /// Gives an interface another name; false if there is none, or the name is taken.
    pub fn rename_interface(&mut self, netns: Option<&Path>, name: &str, new: &str) -> bool {
        let Some(namespace) = self.namespaces.get_mut(&netns.map(Path::to_owned)) else { return false };
        if namespace.index(new).is_some() {
            return false;
        }
        let Some(ifindex) = namespace.interfaces.remove(name) else { return false };
        namespace.interfaces.insert(new.to_owned(), ifindex);
        true
    }

    /// The files of all namespaces but the daemon's own.
    pub fn named(&self) -> Vec<PathBuf> {
        self.namespaces.keys().flatten().cloned().collect()
    }

    /// Switches an interface on or off; false if there is none.
    pub fn switch(&mut self, netns: Option<&Path>, name: &str, up: bool) -> bool {
        let Some(namespace) = self.namespaces.get_mut(&netns.map(Path::to_owned)) else { return false };
        let Some(ifindex) = namespace.index(name) else { return false };
        if up {
            namespace.up.insert(ifindex)
        } else {
            namespace.up.remove(&ifindex)
        };
        true
    }

    /// A new boot: namespaces but the first and interfaces are made in another order, so that each takes the identity
    /// that another one had. A lone one has a new identity.
    pub fn reboot(&mut self) {
        self.xdp.clear();
        self.tcx.clear();
        self.groups.clear();
        let mut named: Vec<&mut Namespace> = self
            .namespaces
            .iter_mut()
            .filter_map(|(path, namespace)| path.is_some().then_some(namespace))
            .collect();
        if let [only] = &mut *named {
            self.made += 1;
            only.id = NetnsId { inode: 4_026_532_000 + self.made, cookie: 0x1000 + self.made };
        } else {
            let mut ids: Vec<NetnsId> = named.iter().map(|namespace| namespace.id).collect();
            let first = ids.len().min(1);
            ids.rotate_left(first);
            for (namespace, id) in named.into_iter().zip(ids) {
                namespace.id = id;
            }
        }
        for namespace in self.namespaces.values_mut() {
            namespace.up.clear();
            let mut numbers: Vec<IfIndex> = namespace.interfaces.values().copied().collect();
            if let [only] = &mut *numbers {
                namespace.last += 1;
                *only = IfIndex(namespace.last);
            } else {
                let first = numbers.len().min(1);
                numbers.rotate_left(first);
            }
            for (interface, number) in namespace.interfaces.values_mut().zip(numbers) {
                *interface = number;
            }
        }
    }

    pub fn namespace(&self, netns: Option<&Path>) -> Result<&Namespace, KernelError> {
        self.namespaces.get(&netns.map(Path::to_owned)).ok_or_else(|| KernelError::NoNamespace {
            path: netns.map(Path::to_owned).unwrap_or_default(),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    pub fn find_hook(&self, interface: &Interface, kind: HookKind) -> Result<HookKey, KernelError> {
        let namespace = self.namespace(interface.netns.as_deref())?;
        let ifindex = namespace.index(&interface.name).ok_or_else(|| KernelError::NoInterface {
            name: interface.name.clone(),
            netns: interface.netns.clone(),
        })?;
        Ok(HookKey { netns: namespace.id.into(), ifindex, kind })
    }

    /// The namespace's identity, if it has an interface of this number.
    pub fn place(&self, netns: Option<&Path>, ifindex: IfIndex) -> Result<Option<NetnsId>, KernelError> {
        let namespace = self.namespace(netns)?;
        Ok(namespace.has(ifindex).then_some(namespace.id))
    }

    /// A link is gone from its hook.
    pub fn leave(&mut self, place: &SimLinkTarget, key: Key) {
        match place {
            SimLinkTarget::Xdp { netns, ifindex } => {
                self.xdp.remove(&(*netns, *ifindex));
            }
            SimLinkTarget::Tcx { netns, ifindex, direction } => {
                let at = (*netns, *ifindex, *direction);
                if let Some(hook) = self.tcx.get_mut(&at) {
                    hook.entries.retain(|entry| *entry != HookedBy::Link(key));
                    hook.revision += 1;
                    if hook.entries.is_empty() {
                        self.tcx.remove(&at);
                    }
                }
            }
            SimLinkTarget::Group { at } => {
                if let Some(hook) = self.groups.get_mut(at) {
                    hook.links.retain(|link| *link != key);
                    hook.revision += 1;
                }
            }
            SimLinkTarget::Event(_)
            | SimLinkTarget::Trampoline
            | SimLinkTarget::Place { .. }
            | SimLinkTarget::Replacement { .. }
            | SimLinkTarget::Sockmap { .. }
            | SimLinkTarget::StructOps { .. }
            | SimLinkTarget::Nowhere { .. } => {}
        }
    }
}
