//! The program of the workers: where it is, its environment, and its version.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use bpfmand_frames::order::{MAX_VERSION, VERSION};
use bpfmand_frames::worker_program;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvFlags, recv};

/// Time for the starter to report its version, in seconds.
const VERSION_TIMEOUT_SECONDS: i64 = 30;

/// The worker's program, held open: its user need not be able to reach its folder.
pub struct WorkerProgram {
    path: PathBuf,
    file: OwnedFd,
}

impl WorkerProgram {
    /// Opens the program: beside the daemon's, or where packages put it.
    pub fn open() -> anyhow::Result<Self> {
        let path = worker_program::find()?;
        let file = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path, file })
    }

    pub fn command(&self) -> Command {
        worker_program::command(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads the version that a starter sends first, and compares it with the daemon's.
pub fn check_version(program: &Path, orders: impl AsFd) -> anyhow::Result<()> {
    let patience = Timespec { tv_sec: VERSION_TIMEOUT_SECONDS, tv_nsec: 0 };
    let shown = program.display();
    let mut waiting = [PollFd::new(&orders, PollFlags::IN)];
    if poll(&mut waiting, Some(&patience))? == 0 {
        anyhow::bail!("{shown} reports no version within {VERSION_TIMEOUT_SECONDS} s");
    }
    let mut sent = [0; MAX_VERSION];
    let (length, _) = recv(&orders, &mut sent, RecvFlags::empty())?;
    let version = String::from_utf8_lossy(&sent[..length.min(MAX_VERSION)]);
    match &*version {
        VERSION => Ok(()),
        "" => anyhow::bail!("{shown} ended at its start"),
        other => anyhow::bail!(
            "{shown} is {:?}, and this daemon needs {VERSION:?}: install both from one package or build",
            bpfman_proto::printable::one_line(other)
        ),
    }
}
