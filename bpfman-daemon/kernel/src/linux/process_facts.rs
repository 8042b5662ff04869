//! What `/proc` says of one process.

use std::fs;

use super::processes;

/// A process as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Path of its executable, as that process' files have it; none for a thread of the kernel.
    pub executable: Option<String>,
    /// The lines of its file `cgroup`.
    pub groups: String,
}

/// What a process is, by its number as the machine counts; none if it is gone, or another one has the number by now.
/// `began`: when it began, in nanoseconds since boot; 0: not known.
#[must_use]
pub fn process_facts(pid: u32, began: u64) -> Option<ProcessFacts> {
    /// `/proc` counts in ticks of 10 ms.
    const TICK: u64 = 10_000_000;
    let root = processes::root();
    let is_it = || processes::began(&root, pid).is_some_and(|ticks| began == 0 || ticks == began / TICK);
    if !is_it() {
        return None;
    }
    let folder = root.join(pid.to_string());
    let executable = fs::read_link(folder.join("exe")).ok();
    let groups = fs::read_to_string(folder.join("cgroup")).ok()?;
    // It may have ended meanwhile, and another one begun.
    is_it().then(|| ProcessFacts {
        executable: executable.map(|path| path.to_string_lossy().into_owned()),
        groups,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_process_is_told_from_another_one_of_its_number() {
        let pid = std::process::id();
        let ticks = processes::began(Path::new("/proc"), pid).unwrap();
        let facts = process_facts(pid, ticks * 10_000_000 + 1234).unwrap();
        let own = std::env::current_exe().unwrap().display().to_string();
        assert_eq!(facts.executable.as_deref(), Some(own.as_str()));
        assert!(facts.groups.contains(':'), "{facts:?}");
        assert!(process_facts(pid, 0).is_some());
        assert_eq!(process_facts(pid, (ticks + 7) * 10_000_000), None);
        assert_eq!(process_facts(u32::MAX, 0), None);
    }
}
