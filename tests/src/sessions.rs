//! Starter of sessions of `bpfman run-as`, for one daemon.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::mount::{UnmountFlags, unmount};

use crate::wait::until;
use crate::{Daemon, Outcome, binaries};

/// Starter. When the value is dropped, it is killed; sessions continue until their commands end.
#[derive(Debug)]
pub struct Starter {
    process: Child,
    folder: PathBuf,
}

impl Starter {
    #[must_use]
    pub fn of(daemon: &Daemon) -> Self {
        let folder = daemon.path("run/sessions");
        let log = std::fs::File::create(daemon.path("starter.log")).unwrap();
        let mut command = Command::new(binaries::find("bpfman-session"));
        command.arg("--runtime-dir").arg(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let this = Self { process: command.spawn().unwrap(), folder: folder.clone() };
        until("the starter listens", || folder.join("starter.sock").exists());
        this
    }
}

/// Returns the number of processes with the folder in their command lines.
fn processes(folder: &Path) -> usize {
    let folder = folder.as_os_str().as_encoded_bytes();
    let has = |line: &Vec<u8>| line.split(|byte| *byte == 0).any(|word| word == folder);
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok()).filter(has).count()
}

impl Drop for Starter {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
        if !std::thread::panicking() {
            until("all processes of sessions have ended", || processes(&self.folder) == 0);
        }
        // Unmount the bpffs that sessions left.
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "pins") {
                let _not_mounted = unmount(entry.path(), UnmountFlags::DETACH);
            }
        }
    }
}

impl Daemon {
    /// Returns a command that runs words in a session of a user.
    #[must_use]
    pub fn session_command(&self, user: u32, words: &[&str]) -> Command {
        let mut command = self.cli_command_as(user, user);
        command.args(["run-as", "--"]).args(words).current_dir("/");
        command
    }

    pub fn session(&self, user: u32, words: &[&str]) -> Outcome {
        Outcome::of(&mut self.session_command(user, words))
    }

    pub fn session_shell(&self, user: u32, script: &str) -> Outcome {
        self.session(user, &["sh", "-c", script])
    }
}
