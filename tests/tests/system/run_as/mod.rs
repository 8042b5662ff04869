//! `bpfman run-as`: commands that load eBPF themselves, as users without any right.

mod executables;
mod grants;
mod hostile;
mod kept;
mod life;
mod limits;
mod lists;
mod memory;
mod outcomes;
mod programs;
mod proposals;
mod reach;
mod routes;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bpfman_tests::sessions::Starter;
use bpfman_tests::{Daemon, Launch, compile};

pub const ADA: u32 = 64_211;
const BOB: u32 = 64_212;
const EVE: u32 = 64_213;

pub struct Sessions {
    daemon: Daemon,
    _starter: Starter,
}

impl std::ops::Deref for Sessions {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

/// Ada may load and attach anything, Bob XDP programs at `lo`, Eve nothing.
pub fn sessions() -> Sessions {
    sessions_of(&format!(
        "[[grants]]\nname = \"tools\"\nusers = [{ADA}]\nallow = [\"raw\"]\n\
         [[grants]]\nname = \"narrow\"\nusers = [{BOB}]\nallow = [\"raw\"]\ntypes = [\"xdp\"]\nhooks = [\"xdp:lo\"]\n"
    ))
}

fn sessions_of(policy: &str) -> Sessions {
    let daemon = Daemon::start_with(&Launch { policy: policy.to_owned(), ..Launch::default() });
    daemon.open_to_users();
    let starter = Starter::of(&daemon);
    Sessions { daemon, _starter: starter }
}

impl Sessions {
    /// Copies a file to where every user reads it.
    fn readable(&self, from: &Path) -> PathBuf {
        let to = self.path(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).unwrap();
        to
    }

    fn object(&self) -> String {
        self.readable(&compile::object("pass")).display().to_string()
    }
}
