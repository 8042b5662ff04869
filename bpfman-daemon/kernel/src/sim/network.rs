use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use bpfman_model::{
    AddressedInterface, Direction, HookKey, HookKind, IfIndex, Interface, InterfaceFacts, NetnsId,
    NetnsNumber, XdpRunsIn,
};

use super::groups::GroupHook;
use super::held_namespaces::SimHeld;
use super::objects::{Key, SimLinkTarget};
use crate::{FoundNamespace, KernelError};

#[derive(Debug)]
pub(super) struct Namespace {
    pub id: NetnsId,
    pub made: u64,
    interfaces: BTreeMap<String, IfIndex>,
    other_names: BTreeMap<String, IfIndex>,
    up: BTreeSet<IfIndex>,
    last: u32,
}

const LOOPBACK: (&str, IfIndex) = ("lo", IfIndex(1));

impl Namespace {
    const fn new(id: NetnsId, made: u64) -> Self {
        Self {
            id,
            made,
            interfaces: BTreeMap::new(),
            other_names: BTreeMap::new(),
            up: BTreeSet::new(),
            last: LOOPBACK.1.0,
        }
    }

    pub fn index(&self, name: &str) -> Option<IfIndex> {
        if name == LOOPBACK.0 {
            return Some(LOOPBACK.1);
        }
        self.interfaces.get(name).or_else(|| self.other_names.get(name)).copied()
    }

    pub fn name_of(&self, ifindex: IfIndex) -> Option<String> {
        self.list().into_iter().find(|facts| facts.ifindex == ifindex).map(|facts| facts.name)
    }

    pub fn has(&self, ifindex: IfIndex) -> bool {
        ifindex == LOOPBACK.1 || self.interfaces.values().any(|found| *found == ifindex)
    }

    pub fn list(&self) -> Vec<InterfaceFacts> {
        let facts = |name: &str, ifindex, kind: Option<&str>| InterfaceFacts {
            name: name.to_owned(),
            other_names: self.other_names_of(ifindex),
            ifindex,
            up: self.up.contains(&ifindex),
            kind: kind.map(str::to_owned),
        };
        let mut found = vec![facts(LOOPBACK.0, LOOPBACK.1, None)];
        found.extend(self.interfaces.iter().map(|(name, ifindex)| facts(name, *ifindex, Some("veth"))));
        found.sort_by_key(|interface| interface.ifindex);
        found
    }

    fn other_names_of(&self, ifindex: IfIndex) -> Vec<String> {
        self.other_names.iter().filter(|(_, of)| **of == ifindex).map(|(name, _)| name.clone()).collect()
    }

    pub fn addressed(&self) -> Vec<AddressedInterface> {
        let addressed = |facts| AddressedInterface { facts, addresses: Vec::new() };
        self.list().into_iter().map(addressed).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttachedBy {
    Link(Key),
    Program(Key),
}

#[derive(Debug)]
pub(super) struct TcxHook {
    pub revision: u64,
    pub entries: Vec<AttachedBy>,
}

impl Default for TcxHook {
    fn default() -> Self {
        Self { revision: 1, entries: Vec::new() }
    }
}

pub(super) type TcPlace = (NetnsId, IfIndex, Direction);

#[derive(Debug)]
pub(super) struct SimNetwork {
    pub namespaces: BTreeMap<u64, Namespace>,
    pub has_cookies: bool,
    pub held: BTreeMap<u64, SimHeld>,
    pub ended: BTreeSet<u64>,
    /// Inodes by file; `None` is the daemon's namespace. A namespace without a file lives on.
    pub names: BTreeMap<Option<PathBuf>, u64>,
    numbers: BTreeMap<u64, u32>,
    numbered: u32,
    pub xdp: BTreeMap<(NetnsId, IfIndex), (AttachedBy, XdpRunsIn)>,
    pub tcx: BTreeMap<TcPlace, TcxHook>,
    pub groups: BTreeMap<String, GroupHook>,
    pub group_ids: BTreeMap<String, u64>,
    made: u64,
    pub overruns: u64,
}

impl SimNetwork {
    pub fn new(own: NetnsId, has_cookies: bool) -> Self {
        Self {
            namespaces: BTreeMap::from([(own.inode, Namespace::new(own, 0))]),
            has_cookies,
            held: BTreeMap::new(),
            ended: BTreeSet::new(),
            names: BTreeMap::from([(None, own.inode)]),
            numbers: BTreeMap::new(),
            numbered: 0,
            xdp: BTreeMap::new(),
            tcx: BTreeMap::new(),
            groups: BTreeMap::new(),
            group_ids: BTreeMap::new(),
            made: 0,
            overruns: 0,
        }
    }

    pub fn add_namespace(&mut self, path: &Path) -> NetnsId {
        self.made += 1;
        let id = self.new_id(self.made);
        self.namespaces.insert(id.inode, Namespace::new(id, self.made));
        self.names.insert(Some(path.to_owned()), id.inode);
        id
    }

    pub fn inode_of(&self, path: &Path) -> Option<u64> {
        self.names.get(&Some(path.to_owned())).copied()
    }

    /// Returns the interfaces of the ended namespace, for their programs.
    pub fn end_namespace(&mut self, inode: u64) -> Vec<(NetnsId, IfIndex)> {
        self.names.retain(|_, of| *of != inode);
        self.numbers.remove(&inode);
        self.namespaces.remove(&inode).map_or_else(Vec::new, |namespace| {
            namespace.interfaces.values().map(|ifindex| (namespace.id, *ifindex)).collect()
        })
    }

    pub fn remove_name(&mut self, path: &Path) {
        self.names.remove(&Some(path.to_owned()));
    }

    pub fn add_name(&mut self, path: &Path, netns: NetnsId) -> bool {
        let lives = self.by_id(netns).is_some();
        if lives {
            self.names.insert(Some(path.to_owned()), netns.inode);
        }
        lives
    }

    fn by_id(&self, netns: NetnsId) -> Option<&Namespace> {
        self.namespaces.get(&netns.inode).filter(|found| match netns.cookie {
            0 => !self.is_another(netns),
            _ => found.id == netns,
        })
    }

    /// Returns a file of a namespace; the inner `None` is the daemon's namespace.
    fn file_of(&self, netns: NetnsId) -> Option<&Option<PathBuf>> {
        let inode = self.by_id(netns)?.id.inode;
        self.names.iter().find(|(_, of)| **of == inode).map(|(file, _)| file)
    }

    pub fn reach(&self, netns: NetnsId, subject: &str) -> Result<&Namespace, KernelError> {
        let reached = self.file_of(netns).and_then(|_| self.by_id(netns));
        reached.ok_or_else(|| KernelError::NamespaceNotFound { subject: subject.to_owned(), netns })
    }

    pub fn find_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
        number: Option<NetnsNumber>,
    ) -> FoundNamespace {
        let hint = hint.map(Path::to_owned);
        if hint.is_some() && self.leads_to(hint.as_deref(), netns) && self.by_id(netns).is_some() {
            return hint.map_or(FoundNamespace::Own, FoundNamespace::At);
        }
        let is_free = |number: NetnsNumber| self.numbers.get(&netns.inode) != Some(&number.number);
        match self.file_of(netns) {
            Some(Some(file)) => FoundNamespace::At(file.clone()),
            Some(None) => FoundNamespace::Own,
            None if self.by_id(netns).is_none() && self.namespaces.contains_key(&netns.inode) => {
                FoundNamespace::Ended
            }
            None if number.is_some_and(is_free) || self.is_another(netns) => FoundNamespace::Ended,
            None => FoundNamespace::NotFound,
        }
    }

    pub fn number_namespace(&mut self, netns: NetnsId) -> Result<Option<NetnsNumber>, KernelError> {
        let inode = self.reach(netns, "a network namespace")?.id.inode;
        let table = self.namespace(None)?.id;
        if table.inode == inode {
            return Ok(None);
        }
        let numbered = &mut self.numbered;
        let number = *self.numbers.entry(inode).or_insert_with(|| {
            *numbered += 1;
            *numbered
        });
        Ok(Some(NetnsNumber { table, number }))
    }

    pub fn leads_to(&self, path: Option<&Path>, netns: NetnsId) -> bool {
        self.names.get(&path.map(Path::to_owned)) == Some(&netns.inode) && !self.is_another(netns)
    }

    /// Returns one file per namespace but the daemon's, files of processes last.
    pub fn all(&self) -> Vec<PathBuf> {
        let own = self.names.get(&None).copied();
        let mut files: Vec<(&PathBuf, u64)> =
            self.names.iter().filter_map(|(file, of)| Some((file.as_ref()?, *of))).collect();
        files.sort_by_key(|(file, _)| (file.starts_with("/proc"), *file));
        let mut seen: BTreeSet<u64> = own.into_iter().collect();
        files.into_iter().filter(|(_, of)| seen.insert(*of)).map(|(file, _)| file.clone()).collect()
    }

    fn named_mut(&mut self, netns: Option<&Path>) -> Option<&mut Namespace> {
        let inode = self.names.get(&netns.map(Path::to_owned))?;
        self.namespaces.get_mut(inode)
    }

    pub fn add_interface(&mut self, netns: Option<&Path>, name: &str) -> Option<IfIndex> {
        let namespace = self.named_mut(netns)?;
        namespace.last += 1;
        let ifindex = IfIndex(namespace.last);
        namespace.interfaces.insert(name.to_owned(), ifindex);
        Some(ifindex)
    }

    pub fn remove_interface(&mut self, netns: Option<&Path>, name: &str) -> Option<(NetnsId, IfIndex)> {
        let namespace = self.named_mut(netns)?;
        let ifindex = namespace.interfaces.remove(name)?;
        namespace.up.remove(&ifindex);
        namespace.other_names.retain(|_, of| *of != ifindex);
        Some((namespace.id, ifindex))
    }

    pub fn add_other_name(&mut self, netns: Option<&Path>, name: &str, other: &str) -> bool {
        let Some(namespace) = self.named_mut(netns) else { return false };
        let Some(ifindex) = namespace.index(name).filter(|_| namespace.index(other).is_none()) else {
            return false;
        };
        namespace.other_names.insert(other.to_owned(), ifindex);
        true
    }

    pub fn move_interface(
        &mut self,
        from: &Path,
        name: &str,
        to: &Path,
    ) -> Option<((NetnsId, IfIndex), (NetnsId, IfIndex))> {
        if self.namespace(Some(to)).ok()?.index(name).is_some() {
            return None;
        }
        let from = self.remove_interface(Some(from), name)?;
        let namespace = self.named_mut(Some(to))?;
        let mut ifindex = from.1;
        if namespace.has(ifindex) {
            namespace.last += 1;
            ifindex = IfIndex(namespace.last);
        }
        namespace.last = namespace.last.max(ifindex.0);
        namespace.interfaces.insert(name.to_owned(), ifindex);
        Some((from, (namespace.id, ifindex)))
    }

    pub fn rename_interface(&mut self, netns: Option<&Path>, name: &str, new: &str) -> bool {
        let Some(namespace) = self.named_mut(netns) else { return false };
        if namespace.index(new).is_some() {
            return false;
        }
        let Some(ifindex) = namespace.interfaces.remove(name) else { return false };
        namespace.interfaces.insert(new.to_owned(), ifindex);
        true
    }

    /// Returns the named files, without those of processes.
    pub fn named(&self) -> Vec<PathBuf> {
        self.all().into_iter().filter(|file| !file.starts_with("/proc")).collect()
    }

    pub fn switch(&mut self, netns: Option<&Path>, name: &str, up: bool) -> bool {
        let Some(namespace) = self.named_mut(netns) else { return false };
        let Some(ifindex) = namespace.index(name) else { return false };
        if up {
            namespace.up.insert(ifindex)
        } else {
            namespace.up.remove(&ifindex)
        };
        true
    }

    /// Gives each namespace the identity that another one had; a single one gets a new one.
    pub fn reboot(&mut self) {
        self.xdp.clear();
        self.tcx.clear();
        self.groups.clear();
        self.numbers.clear();
        self.held.clear();
        self.ended.clear();
        // Namespaces without a file have ended; the others are made in the order of their one file.
        let own = self.names.get(&None).copied();
        let mut files: Vec<(PathBuf, u64)> =
            self.names.iter().filter_map(|(file, of)| Some((file.clone()?, *of))).collect();
        let mut seen: BTreeSet<u64> = own.into_iter().collect();
        files.retain(|(_, of)| seen.insert(*of));
        self.namespaces.retain(|inode, _| seen.contains(inode));
        self.names.retain(|file, _| file.is_none());
        let mut ids: Vec<NetnsId> =
            files.iter().filter_map(|(_, of)| Some(self.namespaces.get(of)?.id)).collect();
        if let [only] = &mut *ids {
            self.made += 1;
            *only = self.new_id(self.made);
        } else {
            let first = ids.len().min(1);
            ids.rotate_left(first);
        }
        let made: Vec<Namespace> = files.iter().filter_map(|(_, of)| self.namespaces.remove(of)).collect();
        for ((mut namespace, id), (file, _)) in made.into_iter().zip(ids).zip(files) {
            namespace.id = id;
            self.namespaces.insert(id.inode, namespace);
            self.names.insert(Some(file), id.inode);
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
        let inode = self.names.get(&netns.map(Path::to_owned));
        inode.and_then(|inode| self.namespaces.get(inode)).ok_or_else(|| KernelError::NoNamespace {
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

    pub fn reach_known(
        &self,
        home: Option<NetnsId>,
        netns: Option<&Path>,
    ) -> Result<&Namespace, KernelError> {
        match home {
            Some(home) => self.reach(home, "a network namespace"),
            None => self.namespace(netns),
        }
    }

    pub fn place(&self, netns: Option<&Path>, ifindex: IfIndex) -> Result<Option<NetnsId>, KernelError> {
        let namespace = self.namespace(netns)?;
        Ok(namespace.has(ifindex).then_some(namespace.id))
    }

    pub fn leave(&mut self, place: &SimLinkTarget, key: Key) {
        match place {
            SimLinkTarget::Xdp { netns, ifindex } => {
                self.xdp.remove(&(*netns, *ifindex));
            }
            SimLinkTarget::Tcx { netns, ifindex, direction } => {
                let at = (*netns, *ifindex, *direction);
                if let Some(hook) = self.tcx.get_mut(&at) {
                    hook.entries.retain(|entry| *entry != AttachedBy::Link(key));
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
            | SimLinkTarget::Netkit { .. }
            | SimLinkTarget::Trampoline
            | SimLinkTarget::Place { .. }
            | SimLinkTarget::Replacement { .. }
            | SimLinkTarget::Sockmap { .. }
            | SimLinkTarget::StructOps { .. }
            | SimLinkTarget::Nowhere { .. } => {}
        }
    }
}
