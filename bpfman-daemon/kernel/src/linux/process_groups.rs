//! Cgroups of a process, with the path components that root named.

use bpfman_model::{GroupPath, cgroup_in};

use super::held_processes::HeldProcess;
use super::hierarchies;

/// Cgroups of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessGroups {
    /// Cgroup in the hierarchy that identifies the process best.
    pub best: Option<GroupPath>,
    /// Cgroup in the hierarchy of version 2.
    pub unified: Option<GroupPath>,
}

impl ProcessGroups {
    /// Parses the lines of a process's `cgroup` file, and reads the owners of these cgroups.
    #[must_use]
    pub fn of(lines: &str) -> Self {
        let group = |controllers| Some(hierarchies::group(controllers, cgroup_in(lines, controllers)?));
        let unified = group("");
        Self { best: group("name=systemd").or_else(|| unified.clone()), unified }
    }

    /// Returns `None` if the process has ended, or is moved again and again.
    pub(super) fn of_held(process: &HeldProcess) -> Option<Self> {
        Self::settled(|| process.read("cgroup"))
    }

    /// Reads until the path is stable: owners are read by path, where another cgroup may be by now.
    fn settled(mut read: impl FnMut() -> Option<String>) -> Option<Self> {
        const MAX_TRIES: usize = 3;
        (0..MAX_TRIES).find_map(|_| {
            let lines = read()?;
            let groups = Self::of(&lines);
            (read()? == lines).then_some(groups)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bpfman_model::{cgroup_of, unified_cgroup_of};

    use super::*;

    #[test]
    fn own_groups_are_those_of_the_kernel() {
        let lines = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let groups = ProcessGroups::of(&lines);
        assert_eq!(groups.best.as_ref().map(|group| group.as_str().to_owned()), cgroup_of(&lines));
        assert_eq!(groups.unified.as_ref().map(|group| group.as_str().to_owned()), unified_cgroup_of(&lines));
        assert_eq!(ProcessGroups::of(""), ProcessGroups::default());
        let held = HeldProcess::open(Path::new("/proc"), std::process::id()).unwrap();
        assert_eq!(ProcessGroups::of_held(&held), Some(groups));
    }

    #[test]
    fn process_that_is_moved_meanwhile_is_read_again() {
        let read = |answers: &[&str]| {
            let mut answers = answers.iter();
            ProcessGroups::settled(|| answers.next().map(|path| format!("0::{path}\n")))
                .map(|groups| groups.unified.unwrap().as_str().to_owned())
        };
        assert_eq!(read(&["/a", "/a"]).as_deref(), Some("/a"));
        assert_eq!(read(&["/a", "/b", "/b", "/b"]).as_deref(), Some("/b"));
        assert_eq!(read(&["/a", "/b", "/a", "/b", "/a", "/b"]), None);
        assert_eq!(read(&["/a"]), None, "it has ended");
    }
}
