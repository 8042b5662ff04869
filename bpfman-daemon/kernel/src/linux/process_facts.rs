//! Facts of one process in `/proc`.

use std::fs;

use super::processes;

/// A process at the time of reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Path of its executable, in the file system of the process. `None` for a kernel thread.
    pub executable: Option<String>,
    /// Lines of its file `cgroup`.
    pub groups: String,
}

/// Length of a tick of `/proc` in nanoseconds: 10 ms.
const TICK: u64 = 10_000_000;

/// Known facts of the start of a process, which tell it from a later process of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessStart {
    /// Nanoseconds from boot to the start, with sleep.
    At(u64),
    /// The process existed at this time: nanoseconds since boot, without sleep.
    Before(u64),
}

impl ProcessStart {
    /// Returns true for a process that began so many ticks after boot, with sleep.
    const fn fits(self, ticks: u64) -> bool {
        match self {
            Self::At(time) => ticks == time / TICK,
            // The time without sleep is never later than the time with sleep. So after a sleep the right process may be
            // missed, but no other process is taken for it.
            Self::Before(time) => ticks <= time / TICK,
        }
    }
}

/// Returns the facts of a process, by its number on the machine. `None` if it is gone, or if a later process may have
/// the number by now.
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
    // The process may have ended meanwhile, and another one begun.
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
        let facts = process_facts(pid, ProcessStart::At(ticks * TICK + 1234)).unwrap();
        let own = std::env::current_exe().unwrap().display().to_string();
        assert_eq!(facts.executable.as_deref(), Some(own.as_str()));
        assert!(facts.groups.contains(':'), "{facts:?}");
        assert_eq!(process_facts(pid, ProcessStart::At((ticks + 7) * TICK)), None);
        // A process that began later is another one.
        assert!(process_facts(pid, ProcessStart::Before((ticks + 7) * TICK)).is_some());
        assert_eq!(process_facts(pid, ProcessStart::Before((ticks - 1) * TICK)), None);
        assert_eq!(process_facts(u32::MAX, ProcessStart::Before(u64::MAX)), None);
    }
}
