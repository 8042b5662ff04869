//! What waits for its interface, and whether it may return to one.

use bpfmand_core::{HookKey, NetnsId};

use super::records::LinkRecord;

/// The network namespace where a link is, or where it was while its interface was there.
pub fn home_of(link: &LinkRecord) -> Option<NetnsId> {
    link.hook.filter(|key| !is_parked(key)).map(|key| key.netns).or(link.waits_in)
}

/// True if a link that waits may be attached in this namespace. A file of a process leads to another namespace after a
/// reboot, and when another process has the number: one whose namespace is not known is not taken for the same.
pub fn may_return(link: &LinkRecord, boot: &str, netns: NetnsId) -> bool {
    !link.point.names_process() || link.boot == boot && home_of(link) == Some(netns)
}

/// True for the place of a hook that is nowhere: no namespace has the inode 0.
pub const fn is_parked(key: &HookKey) -> bool {
    key.netns.inode == 0
}
