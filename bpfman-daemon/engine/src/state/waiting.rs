//! What waits for its interface, and whether it may return to one.

use std::path::{Component, Path};

use bpfmand_core::{AttachPoint, HookKey, Interface, NetnsId};

use super::records::LinkRecord;

/// True if a point is found by a process id, which means another process, or none, after a reboot.
pub fn names_process(point: &AttachPoint) -> bool {
    match point {
        AttachPoint::Uprobe { target, scope, .. } => {
            scope.pid.is_some() || scope.container_pid.is_some() || is_of_process(Path::new(target))
        }
        _ => point.hook().is_some_and(|(interface, _)| is_process_namespace(interface)),
    }
}

/// The network namespace where a link is, or where it was while its interface was there.
pub fn home_of(link: &LinkRecord) -> Option<NetnsId> {
    link.hook.filter(|key| !is_parked(key)).map(|key| key.netns).or(link.waits_in)
}

/// True if a link that waits may be attached in this namespace. A file of a process leads to another namespace after a
/// reboot, and when another process has the number: one whose namespace is not known is not taken for the same.
pub fn may_return(link: &LinkRecord, boot: &str, netns: NetnsId) -> bool {
    !names_process(&link.point) || link.boot == boot && home_of(link) == Some(netns)
}

/// True for the place of a hook that is nowhere: no namespace has the inode 0.
pub const fn is_parked(key: &HookKey) -> bool {
    key.netns.inode == 0
}

pub fn is_process_namespace(interface: &Interface) -> bool {
    interface.netns.as_deref().is_some_and(is_of_process)
}

/// True for `/proc/<pid>/…`, and for the host's processes where they are mounted at `/host/proc`.
fn is_of_process(path: &Path) -> bool {
    let path = path.strip_prefix("/host").map_or(path.to_owned(), |inside| Path::new("/").join(inside));
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    parts.next() == Some(Component::RootDir)
        && parts.next().is_some_and(|part| part.as_os_str() == "proc")
        && parts
            .next()
            .and_then(|part| part.as_os_str().to_str())
            .is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_processes_are_told_from_others() {
        for path in ["/proc/1/ns/net", "/proc/4711/root/usr/lib/libc.so.6", "//proc/./12"] {
            assert!(is_of_process(Path::new(path)), "{path}");
        }
        for path in ["/proc/self/ns/net", "/run/netns/a", "/run/proc/1/ns/net", "proc/1/ns/net", "libc"] {
            assert!(!is_of_process(Path::new(path)), "{path}");
        }
    }
}
