use std::collections::BTreeMap;
use std::path::Path;

use bpfman_model::{NetnsId, NetnsNumber};

use super::SimState;
use super::network::SimNetwork;

const FIRST_INODE: u64 = 4_026_532_001;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimHeld {
    Open(u64),
    LetGo(u64),
}

impl SimNetwork {
    /// Without cookies, a new namespace has the lowest free inode.
    pub fn new_id(&self, made: u64) -> NetnsId {
        if self.has_cookies {
            return NetnsId { inode: FIRST_INODE - 1 + made, cookie: 0x1000 + made };
        }
        let mut inodes = FIRST_INODE..;
        let free = inodes.find(|inode| !self.namespaces.contains_key(inode));
        NetnsId { inode: free.unwrap_or(FIRST_INODE), cookie: 0 }
    }

    pub fn is_held(&self, inode: u64) -> bool {
        matches!(self.held.get(&inode), Some(SimHeld::Open(_)))
    }

    pub fn is_another(&self, netns: NetnsId) -> bool {
        let Some(SimHeld::Open(held) | SimHeld::LetGo(held)) = self.held.get(&netns.inode) else {
            return false;
        };
        netns.cookie == 0 && self.namespaces.get(&netns.inode).is_none_or(|found| found.made != *held)
    }
}

impl SimState {
    pub fn hold_namespaces(&mut self, recorded: &BTreeMap<NetnsId, Option<NetnsNumber>>) {
        let network = &mut self.network;
        let is_wanted = |inode: &u64| recorded.contains_key(&NetnsId { inode: *inode, cookie: 0 });
        let own = network.names.get(&None).copied();
        network.held.retain(|inode, _| is_wanted(inode));
        for netns in recorded.keys().filter(|netns| netns.cookie == 0 && Some(netns.inode) != own) {
            let Some(found) = network.namespaces.get(&netns.inode) else { continue };
            let has_path = network.names.values().any(|of| *of == netns.inode);
            match network.held.get(&netns.inode) {
                Some(SimHeld::LetGo(_)) => {}
                Some(SimHeld::Open(_)) if has_path => {}
                _ => {
                    let held = if has_path { SimHeld::Open(found.made) } else { SimHeld::LetGo(found.made) };
                    network.held.insert(netns.inode, held);
                }
            }
        }
        let ended: Vec<u64> =
            network.ended.iter().copied().filter(|inode| !network.is_held(*inode)).collect();
        for inode in ended {
            self.network.ended.remove(&inode);
            self.namespace_gone(inode);
        }
    }

    pub fn end_namespace(&mut self, inode: u64) {
        if self.network.is_held(inode) {
            self.network.names.retain(|_, of| *of != inode);
            self.network.ended.insert(inode);
        } else {
            self.namespace_gone(inode);
        }
    }

    pub fn end_namespace_at(&mut self, path: &Path) {
        if let Some(inode) = self.network.inode_of(path) {
            self.end_namespace(inode);
        }
    }
}
