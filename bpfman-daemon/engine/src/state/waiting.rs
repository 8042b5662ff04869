//! What waits for its interface, and whether it may return to one.

use bpfmand_core::{HookNetns, NetnsId};

use super::records::LinkRecord;

/// The network namespace where a link is, or where it was while its interface was there.
pub fn home_of(link: &LinkRecord) -> Option<NetnsId> {
    link.hook.and_then(|key| key.netns.id()).or(link.waits_in)
}

/// True if a link that waits may be attached in this namespace. A file of a process leads to another namespace after a
/// reboot, and when another process has the number: one whose namespace is not known is not taken for the same.
pub fn may_return(link: &LinkRecord, boot: &str, netns: HookNetns) -> bool {
    !link.point.names_process() || link.boot == boot && home_of(link).map(HookNetns::In) == Some(netns)
}

#[cfg(test)]
mod tests {
    use bpfmand_core::HookKey;

    /// As daemons wrote them before there was a variant for it.
    #[test]
    fn a_hook_that_is_nowhere_is_recorded_as_one_of_a_namespace_without_an_inode() {
        let old = r#"{"netns":{"inode":0,"cookie":7},"ifindex":3,"kind":"Xdp"}"#;
        let key: HookKey = serde_json::from_str(old).unwrap();
        assert_eq!((key.netns.id(), key.pin_stem()), (None, "0_3_7".to_owned()));
        assert_eq!(serde_json::to_string(&key).unwrap(), old);
        let there = old.replace("\"inode\":0", "\"inode\":9");
        let key: HookKey = serde_json::from_str(&there).unwrap();
        assert!(key.netns.id().is_some_and(|id| (id.inode, id.cookie) == (9, 7)));
        assert_eq!(serde_json::to_string(&key).unwrap(), there);
    }
}
