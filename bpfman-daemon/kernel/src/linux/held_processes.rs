use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use bpfman_model::{ProcessIdentity, processes_of};
use rustix::fs::{Mode, OFlags};

use super::processes;
use crate::LinkTarget;

/// Descriptor of a process's folder in `/proc`, which never refers to a later process with the same pid.
#[derive(Debug)]
pub struct HeldProcess(OwnedFd);

impl HeldProcess {
    pub fn open(root: &Path, pid: u32) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(root.join(pid.to_string()), flags, Mode::empty()).ok()?;
        Some(Self(folder))
    }

    pub fn began(&self) -> Option<u64> {
        processes::began_in(&self.read("stat")?)
    }

    pub fn read(&self, file: &str) -> Option<String> {
        let mut text = Vec::new();
        File::from(self.open_file(file)?).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    pub fn open_file(&self, file: &str) -> Option<OwnedFd> {
        rustix::fs::openat(&self.0, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
    }
}

#[derive(Debug)]
pub struct HeldProcesses {
    all: Vec<(u32, Option<HeldProcess>)>,
}

impl HeldProcesses {
    pub fn of(target: &LinkTarget<'_>) -> Self {
        let root = processes::root();
        let pids = match (target.binary(), target) {
            (Some((binary, scope)), _) => {
                // With another pid namespace at `/proc`, the host's pids are those of `/host/proc`.
                let counts_alike = root == Path::new("/proc") || binary.starts_with("/host/");
                processes_of(if counts_alike { binary } else { "" }, scope)
            }
            (None, LinkTarget::PerfEvent { place }) => place.pid.into_iter().collect(),
            (None, _) => Vec::new(),
        };
        Self { all: pids.into_iter().map(|pid| (pid, HeldProcess::open(&root, pid))).collect() }
    }

    /// The error is the pid of a process that has ended; another process may have its pid by now.
    pub fn identities(&self) -> Result<Vec<ProcessIdentity>, u32> {
        let identity = |(pid, held): &(u32, Option<HeldProcess>)| {
            let began = held.as_ref().and_then(HeldProcess::began).ok_or(*pid)?;
            Ok(ProcessIdentity { pid: *pid, began })
        };
        self.all.iter().map(identity).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_held_process_is_known_until_it_ends() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let held = HeldProcess::open(Path::new("/proc"), child.id()).unwrap();
        assert_eq!(held.began(), processes::began(Path::new("/proc"), child.id()));
        assert!(held.began().is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(held.began(), None);
        assert!(HeldProcess::open(Path::new("/proc"), u32::MAX).is_none());
    }

    #[test]
    fn a_missing_process_is_named() {
        let scope =
            bpfman_model::ProcessScope { pid: Some(u32::MAX), container_pid: Some(std::process::id()) };
        let (target, provider, name) = ("libc", "p", "n");
        let target = LinkTarget::Usdt { target, provider, name, scope: &scope, reader: None, specs: None };
        assert_eq!(HeldProcesses::of(&target).identities(), Err(u32::MAX));
    }
}
