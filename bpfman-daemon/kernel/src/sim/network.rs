//! Network namespaces, their interfaces, and the links at their hooks.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bpfmand_core::{Direction, HookKey, HookKind, IfIndex, Interface, NetnsId};

use super::objects::{Key, Place};
use crate::KernelError;

/// One namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    pub id: NetnsId,
    interfaces: BTreeMap<String, IfIndex>,
    last: u32,
}

impl Namespace {
    const fn new(id: NetnsId) -> Self {
        // 1 is the loopback interface.
        Self { id, interfaces: BTreeMap::new(), last: 1 }
    }
}

/// One direction of one interface.
pub(super) type TcPlace = (NetnsId, IfIndex, Direction);

/// All of the network.
#[derive(Debug)]
pub(super) struct Network {
    /// By the namespace's file; none for the daemon's own.
    namespaces: BTreeMap<Option<PathBuf>, Namespace>,
    pub xdp: BTreeMap<(NetnsId, IfIndex), Key>,
    pub tcx: BTreeMap<TcPlace, Vec<Key>>,
    made: u64,
}

impl Network {
    pub fn new(own: NetnsId) -> Self {
        let namespaces = BTreeMap::from([(None, Namespace::new(own))]);
        Self { namespaces, xdp: BTreeMap::new(), tcx: BTreeMap::new(), made: 0 }
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
        namespace.interfaces.remove(name).map(|ifindex| (namespace.id, ifindex))
    }

    /// A new boot: namespaces but the first and interfaces are made in another order, so that each takes the identity
    /// that another one had. A lone one has a new identity.
    pub fn reboot(&mut self) {
        self.xdp.clear();
        self.tcx.clear();
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
        let ifindex = namespace.interfaces.get(&interface.name).ok_or_else(|| KernelError::NoInterface {
            name: interface.name.clone(),
            netns: interface.netns.clone(),
        })?;
        Ok(HookKey { netns: namespace.id, ifindex: *ifindex, kind })
    }

    /// The namespace's identity, if it has an interface of this number.
    pub fn place(&self, netns: Option<&Path>, ifindex: IfIndex) -> Result<Option<NetnsId>, KernelError> {
        let namespace = self.namespace(netns)?;
        Ok(namespace.interfaces.values().any(|found| *found == ifindex).then_some(namespace.id))
    }

    /// A link is gone from its hook.
    pub fn leave(&mut self, place: &Place, key: Key) {
        match place {
            Place::Xdp { netns, ifindex } => {
                self.xdp.remove(&(*netns, *ifindex));
            }
            Place::Tcx { netns, ifindex, direction } => {
                let at = (*netns, *ifindex, *direction);
                if let Some(links) = self.tcx.get_mut(&at) {
                    links.retain(|link| *link != key);
                    if links.is_empty() {
                        self.tcx.remove(&at);
                    }
                }
            }
            Place::Event(_) | Place::Trampoline | Place::Nowhere { .. } => {}
        }
    }
}
