//! Process at the other end of a connection.

use std::any::Any;
use std::sync::Arc;

use crate::{CallerGroup, GroupPath, NetnsId, PodRelation, TaskGroup};

/// Process that made a connection, as the kernel recorded it when the connection was made.
///
/// The ids are those in the daemon's user namespace: a process of another user namespace is never root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// PID; `None` if the process is in a PID namespace that the daemon does not see.
    pub pid: Option<u32>,
    /// Cgroup of the process when its connection was accepted, by its path in the hierarchy that names it best; `None`
    /// if that could not be read, or if another process may have the PID.
    pub cgroup: Option<GroupPath>,
    /// Cgroup (version 2) at that time; `None` if there is no such hierarchy.
    pub unified: Option<GroupPath>,
    /// Tasks of [`Self::group`] at that time, by the id of the cgroup, which is never reused.
    pub group_tasks: Option<TaskGroup>,
    /// User that is charged for the connections, if `uid` is one of its subordinate users (subuid(5)).
    pub account_uid: Option<u32>,
    /// Relation of its pod to the daemon's own.
    pub pod_relation: PodRelation,
    /// Network namespace when the connection was accepted; `None` if it could not be opened.
    pub netns: Option<HeldNetns>,
}

/// Network namespace that is held open: no other namespace gets its inode meanwhile.
#[derive(Clone, Debug)]
pub struct HeldNetns {
    inode: u64,
    _holder: Arc<dyn Any + Send + Sync>,
}

impl HeldNetns {
    /// Creates a value from a namespace's inode, and a `holder` that keeps it open until it is dropped.
    #[must_use]
    pub fn new(inode: u64, holder: impl Any + Send + Sync) -> Self {
        Self { inode, _holder: Arc::new(holder) }
    }

    /// Returns the identity without the cookie: no other namespace has the inode while this one is held.
    #[must_use]
    pub const fn id(&self) -> NetnsId {
        NetnsId { inode: self.inode, cookie: 0 }
    }
}

/// Namespaces that are held at the same time are the same if their inodes are.
impl PartialEq for HeldNetns {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

impl Eq for HeldNetns {}

impl Peer {
    /// Returns the systemd unit of the process: the outermost service or scope that root's service manager made.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.cgroup.as_ref()?.unit()
    }

    /// Returns the cgroup (version 2) that contains all tasks of this caller and no others: that of its pod, of its
    /// user, or of its outermost service or scope, else the cgroup itself. `None` for the root of the hierarchy, which
    /// contains all tasks.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        self.unified.as_ref()?.group_of(self.uid)
    }

    /// Returns the cgroup to whose tasks this caller's programs are restricted; `None` if they run for all tasks.
    #[must_use]
    pub fn caller_group(&self) -> Option<CallerGroup> {
        let user = self.pod().is_none().then_some(self.uid);
        Some(CallerGroup { path: self.group()?, tasks: self.group_tasks?, user })
    }

    /// Returns the user to whom the connections and streams are charged.
    #[must_use]
    pub fn account(&self) -> u32 {
        self.account_uid.unwrap_or(self.uid)
    }

    /// Returns the UID of the process's pod, in the form of the cgroup's name.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.cgroup.as_ref()?.pod()
    }
}

/// Returns the path of the cgroup that names a process best, from the lines of `/proc/<pid>/cgroup`: that of version 2,
/// unless processes are sorted in systemd's own hierarchy of version 1.
#[must_use]
pub fn cgroup_of(lines: &str) -> Option<String> {
    cgroup_in(lines, "name=systemd").or_else(|| unified_cgroup_of(lines))
}

/// Returns the path of a process's cgroup (version 2), from the lines of `/proc/<pid>/cgroup`.
#[must_use]
pub fn unified_cgroup_of(lines: &str) -> Option<String> {
    cgroup_in(lines, "")
}

/// Returns the path in the line `NUMBER:CONTROLLERS:PATH` whose controllers are `wanted`; version 2 has none.
#[must_use]
pub fn cgroup_in(lines: &str, wanted: &str) -> Option<String> {
    lines.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        (controllers == wanted).then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_of_several_hierarchies_is_taken() {
        assert_eq!(cgroup_of("0::/a.service\n").as_deref(), Some("/a.service"));
        let mixed = "4:memory:/m\n1:name=systemd:/b.service\n0::/\n";
        assert_eq!(cgroup_of(mixed).as_deref(), Some("/b.service"));
        assert_eq!(cgroup_of("0::/with:colon\n").as_deref(), Some("/with:colon"));
        assert_eq!(cgroup_of(""), None);
        assert_eq!(unified_cgroup_of("1:name=systemd:/b\n0::/a\n").as_deref(), Some("/a"));
        assert_eq!(unified_cgroup_of("1:name=systemd:/b\n"), None);
    }
}
