//! Who is at the other end of a connection.

use std::any::Any;
use std::sync::Arc;

use crate::{CallerGroup, GroupPath, NetnsId, TaskGroup};

/// The process that made a connection, as the kernel noted it when the connection was made.
///
/// A user of another user namespace is who it is mapped to in the daemon's, never root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Process id; none where the process is of a pid namespace that the daemon does not see.
    pub pid: Option<u32>,
    /// The cgroup that the process was in when its connection was taken, by its path in the hierarchy that names
    /// it best; none where that could not be read, or another process may have the number.
    pub cgroup: Option<GroupPath>,
    /// Its cgroup of version 2 at that time; none where there is no such hierarchy.
    pub unified: Option<GroupPath>,
    /// Tasks of [`Self::group`] at that time, by the id of the cgroup, which no later one gets.
    pub group_tasks: Option<TaskGroup>,
    /// Its network namespace when its connection was taken; none where that could not be opened.
    pub netns: Option<HeldNetns>,
}

/// A network namespace that is held open: no other namespace gets its inode meanwhile.
#[derive(Clone, Debug)]
pub struct HeldNetns {
    inode: u64,
    _holder: Arc<dyn Any + Send + Sync>,
}

impl HeldNetns {
    /// Takes the inode of a namespace, and a value that holds the namespace open until it is dropped.
    #[must_use]
    pub fn new(inode: u64, holder: impl Any + Send + Sync) -> Self {
        Self { inode, _holder: Arc::new(holder) }
    }

    /// Returns its identity. The cookie, which tells it from later ones with this inode, is left out: there are none while it
    /// is held.
    #[must_use]
    pub const fn id(&self) -> NetnsId {
        NetnsId { inode: self.inode, cookie: 0 }
    }
}

/// Two that are held at the same time are one namespace if they have one inode.
impl PartialEq for HeldNetns {
    fn eq(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

impl Eq for HeldNetns {}

impl Peer {
    /// The systemd unit that the process belongs to: the outermost service or scope that root's service manager made.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.cgroup.as_ref()?.unit()
    }

    /// The cgroup of version 2 that all tasks of this caller are in, and no others' are: of its pod, of its user, or
    /// of its outermost service or scope, else the cgroup itself. None for the root of the hierarchy, where everybody is.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        self.unified.as_ref()?.group_of(self.uid)
    }

    /// Returns the cgroup for whose tasks programs of this caller run, if they do not run for all.
    #[must_use]
    pub fn caller_group(&self) -> Option<CallerGroup> {
        let user = self.pod().is_none().then_some(self.uid);
        Some(CallerGroup { path: self.group()?, tasks: self.group_tasks?, user })
    }

    /// The uid of the pod that the process belongs to, as its cgroup spells it.
    #[must_use]
    pub fn pod(&self) -> Option<&str> {
        self.cgroup.as_ref()?.pod()
    }
}

/// The path that names a process' cgroup best, of the lines of `/proc/<pid>/cgroup`: that of version 2, unless processes are
/// sorted in systemd's own hierarchy of version 1.
#[must_use]
pub fn cgroup_of(lines: &str) -> Option<String> {
    cgroup_in(lines, "name=systemd").or_else(|| unified_cgroup_of(lines))
}

/// The path of a process' cgroup of version 2, of the lines of `/proc/<pid>/cgroup`.
#[must_use]
pub fn unified_cgroup_of(lines: &str) -> Option<String> {
    cgroup_in(lines, "")
}

/// Returns the path in the hierarchy of these controllers: of the line `NUMBER:CONTROLLERS:PATH`. Version 2 has none.
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
