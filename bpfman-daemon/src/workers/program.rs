//! The program of the workers: where it is, its environment, and its version.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use bpfmand_frames::environment;
use bpfmand_frames::order::{MAX_VERSION, VERSION};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvFlags, recv};

const NAME: &str = "bpfman-worker";
const LIBEXEC: &str = "../libexec/bpfman";
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
        let path = find()?;
        let file = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { path, file })
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(NAME);
        set_environment(&mut command);
        command
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn find() -> anyhow::Result<PathBuf> {
    let daemon = std::env::current_exe().context("the daemon's own program cannot be found")?;
    let folder = daemon.parent().unwrap_or(Path::new("/"));
    let places = [folder.join(NAME), folder.join(LIBEXEC).join(NAME)];
    let found = places.iter().find(|place| place.is_file());
    found.cloned().with_context(|| {
        let [beside, packaged] = places.each_ref().map(|place| place.display());
        format!("there is no {NAME}: neither {beside} nor {packaged}; install it with bpfmand, from one package or build")
    })
}

fn set_environment(command: &mut Command) {
    let kept = environment::passed_on().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept);
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
