//! Links that wait for their interface, and the condition for their return.

use bpfman_model::{HookNetns, NetnsId};

use super::records::LinkRecord;

pub fn home_of(link: &LinkRecord) -> Option<NetnsId> {
    link.hook.and_then(|key| key.netns.id()).or(link.waits_in)
}

/// Returns whether a waiting link may be attached in this namespace. A path in `/proc` leads to another namespace after
/// a reboot and when the pid is reused: a link with an unknown namespace is not attached.
pub fn may_return(link: &LinkRecord, boot: &str, netns: HookNetns) -> bool {
    !link.point.names_process() || link.boot == boot && home_of(link).map(HookNetns::In) == Some(netns)
}

#[cfg(test)]
mod tests {
    use bpfman_model::HookKey;

    #[test]
    fn parked_hook_is_recorded_with_a_namespace_without_inode() {
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
