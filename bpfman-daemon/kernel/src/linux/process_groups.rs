//! Control groups of a process, with the names in them that root gave.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bpfmand_core::{GroupPath, cgroup_of, systemd_cgroup_of, unified_cgroup_of};

use super::containers;

/// Control groups of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessGroups {
    /// In the hierarchy that names the process best.
    pub best: Option<GroupPath>,
    /// In the hierarchy of version 2.
    pub unified: Option<GroupPath>,
}

impl ProcessGroups {
    /// Reads the lines of a process' file `cgroup`, as this process sees it, and looks at the owners of the groups.
    #[must_use]
    pub fn of(lines: &str) -> Self {
        let unified = unified_cgroup_of(lines).map(|path| Hierarchy::unified().group(path));
        let best = match systemd_cgroup_of(lines) {
            Some(path) => Some(Hierarchy::systemd().group(path)),
            None => unified.clone(),
        };
        Self { best, unified }
    }
}

/// A hierarchy of groups, as this process sees it.
#[derive(Debug)]
pub struct Hierarchy {
    /// Where it is mounted from its root; none where it is not, and the owners of its groups are not known.
    mounted: Option<PathBuf>,
    above_pods: usize,
}

impl Hierarchy {
    /// Returns the hierarchy of version 2.
    pub fn unified() -> &'static Self {
        static UNIFIED: OnceLock<Hierarchy> = OnceLock::new();
        UNIFIED.get_or_init(|| Self::find(containers::unified, unified_cgroup_of))
    }

    /// Returns systemd's own hierarchy of version 1.
    fn systemd() -> &'static Self {
        static SYSTEMD: OnceLock<Hierarchy> = OnceLock::new();
        SYSTEMD.get_or_init(|| Self::find(containers::systemd, cgroup_of))
    }

    fn find(mounted: fn(&str) -> Option<PathBuf>, own: fn(&str) -> Option<String>) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let lines = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        // A daemon that is a pod's is below the groups of all pods of its node.
        let above_pods = own(&lines).map_or(0, |path| GroupPath::names_above_pods(&path));
        Self { mounted: mounted(&mounts), above_pods }
    }

    /// Returns the number of names above the groups of pods.
    pub fn above_pods(&self) -> usize {
        self.above_pods
    }

    /// Returns a group by its path, with the names in it that root gave.
    pub fn group(&self, path: String) -> GroupPath {
        let by_root = self.mounted.as_ref().map_or(0, |root| named_by_root(root, &path));
        GroupPath::new(path, by_root, self.above_pods)
    }
}

/// Counts the first names of a path below a folder that root gave.
///
/// The answer holds after the groups have changed: names in groups of root's are changed by root alone.
pub fn named_by_root(hierarchy: &Path, path: &str) -> usize {
    let mut at = hierarchy.to_owned();
    let names = path.split('/').filter(|name| !name.is_empty());
    names
        .take_while(|name| {
            let given = *name != ".." && is_roots(&at);
            at.push(name);
            given
        })
        .count()
}

/// Returns whether root alone can make groups in a group.
pub fn is_roots(group: &Path) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    fs::symlink_metadata(group)
        .is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & OTHERS_WRITE == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn names_count_up_to_the_first_group_of_another_owner() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c/d");
        fs::create_dir_all(&deep).unwrap();
        let count = |path: &str| named_by_root(folder.path(), path);
        assert_eq!(count("/a/b/c/d"), 4);
        chown(folder.path().join("a/b"), Some(4711), None).unwrap();
        assert_eq!(
            [count("/a"), count("/a/b"), count("/a/b/c/d")],
            [1, 2, 2],
            "root gave a delegated group its name"
        );
        chown(folder.path().join("a/b"), Some(0), None).unwrap();
        fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o775)).unwrap();
        assert_eq!(count("/a/b/c/d"), 1, "its group may make others in it");
        assert_eq!([count("/"), count("/../a"), count("/x/y")], [0, 0, 1]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
        assert_eq!(count("/link/a"), 1, "groups are no links");
    }

    #[test]
    fn own_groups_are_those_of_the_kernel() {
        let lines = fs::read_to_string("/proc/self/cgroup").unwrap();
        let groups = ProcessGroups::of(&lines);
        assert_eq!(groups.best.map(|group| group.as_str().to_owned()), cgroup_of(&lines));
        assert_eq!(groups.unified.map(|group| group.as_str().to_owned()), unified_cgroup_of(&lines));
        assert_eq!(ProcessGroups::of(""), ProcessGroups::default());
    }
}
