use std::fs;

use super::processes;

/// A process at the time of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Path of its executable, as the process sees it; `None` for a kernel thread.
    pub executable: Option<String>,
    /// Lines of its file `cgroup`.
    pub groups: String,
}

/// Length of a tick of `/proc`, in nanoseconds.
const TICK: u64 = 10_000_000;

/// Known start of a process, which distinguishes it from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessStart {
    /// Nanoseconds from boot to the start, including suspend.
    At(u64),
    /// The process existed at this time: nanoseconds since boot, without suspend.
    Before(u64),
}

impl ProcessStart {
    /// `ticks` include suspend.
    const fn fits(self, ticks: u64) -> bool {
        match self {
            Self::At(time) => ticks == time / TICK,
            // After a suspend, the right process may be missed. No later process fits, since `time` is never larger.
            Self::Before(time) => ticks <= time / TICK,
        }
    }
}

/// Returns the facts of a process; `None` if it is gone, or a later process may have the pid.
#[must_use]
pub fn process_facts(pid: u32, start: ProcessStart) -> Option<ProcessFacts> {
    let root = processes::root();
    let is_it = || processes::began(&root, pid).is_some_and(|ticks| start.fits(ticks));
    if !is_it() {
        return None;
    }
    let folder = root.join(pid.to_string());
    let executable = fs::read_link(folder.join("exe")).ok();
    let groups = fs::read_to_string(folder.join("cgroup")).ok()?;
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
    fn process_is_distinguished_from_one_with_the_same_pid() {
        let pid = std::process::id();
        let ticks = processes::began(Path::new("/proc"), pid).unwrap();
        let facts = process_facts(pid, ProcessStart::At(ticks * TICK + 1234)).unwrap();
        let own = std::env::current_exe().unwrap().display().to_string();
        assert_eq!(facts.executable.as_deref(), Some(own.as_str()));
        assert!(facts.groups.contains(':'), "{facts:?}");
        assert_eq!(process_facts(pid, ProcessStart::At((ticks + 7) * TICK)), None);
        assert!(process_facts(pid, ProcessStart::Before((ticks + 7) * TICK)).is_some());
        assert_eq!(process_facts(pid, ProcessStart::Before((ticks - 1) * TICK)), None);
        assert_eq!(process_facts(u32::MAX, ProcessStart::Before(u64::MAX)), None);
    }
}
