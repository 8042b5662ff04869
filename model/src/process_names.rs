//! Targets that are named by a PID, which means another process, or none, after a reboot.

use std::path::{Component, Path};

use crate::{AttachPoint, Interface};

impl AttachPoint {
    /// Returns whether a point is named by a PID, which means another process, or none, after a reboot.
    #[must_use]
    pub fn names_process(&self) -> bool {
        match self {
            Self::Uprobe { target, scope, .. }
            | Self::UprobeMulti { target, scope, .. }
            | Self::Usdt { target, scope, .. } => {
                scope.pid.is_some() || scope.container_pid.is_some() || is_of_process(Path::new(target))
            }
            Self::Netns { netns } | Self::Netfilter { netns, .. } => {
                netns.as_deref().is_some_and(is_of_process)
            }
            Self::Netkit { interface } => interface.is_of_process(),
            Self::PerfEvent { place } => place.pid.is_some(),
            _ => self.hook().is_some_and(|(interface, _)| interface.is_of_process()),
        }
    }
}

impl Interface {
    /// Returns whether the network namespace is named by a process.
    #[must_use]
    pub fn is_of_process(&self) -> bool {
        self.netns.as_deref().is_some_and(is_of_process)
    }
}

/// Returns whether a path is `/proc/<pid>/…`, or the host's below `/host/proc`.
fn is_of_process(path: &Path) -> bool {
    process_in(path).is_some()
}

/// Returns the PID in `/proc/<pid>/…`, or in `/host/proc/<pid>/…` for a process of the host.
pub(crate) fn process_in(path: &Path) -> Option<u32> {
    if !path.is_absolute() {
        return None;
    }
    // Removing `/host` leaves a relative path; `RootDir` is skipped, so `proc` is first in both cases.
    let path = path.strip_prefix("/host").unwrap_or(path);
    let mut parts = path.components().filter(|part| !matches!(part, Component::CurDir | Component::RootDir));
    parts.next().filter(|part| part.as_os_str() == "proc")?;
    let pid = parts.next()?.as_os_str().to_str()?;
    // Digits only, because parsing would accept a sign. A number that is no valid PID is no name of a file either.
    let is_number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| pid.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_paths_are_recognised() {
        for path in ["/proc/1/ns/net", "/proc/4711/root/usr/lib/libc.so.6", "//proc/./12"] {
            assert!(is_of_process(Path::new(path)), "{path}");
        }
        for path in ["/proc/self/ns/net", "/run/netns/a", "/run/proc/1/ns/net", "proc/1/ns/net", "libc"] {
            assert!(!is_of_process(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn namespaces_of_processes_are_named_by_points_at_them() {
        let at = |path: &str| AttachPoint::Netns { netns: Some(path.into()) }.names_process();
        assert!(at("/proc/4711/ns/net") && !at("/run/netns/blue"));
        assert!(!AttachPoint::Netns { netns: None }.names_process());
        let at = |netns: Option<&str>| Interface { name: "eth0".to_owned(), netns: netns.map(Into::into) };
        let netkit = |netns| AttachPoint::Netkit { interface: at(netns) }.names_process();
        assert!(netkit(Some("/proc/4711/ns/net")) && !netkit(Some("/run/netns/blue")) && !netkit(None));
    }
}
