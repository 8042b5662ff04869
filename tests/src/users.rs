//! Users other than root, which need not exist on the machine.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::{Daemon, Outcome, binaries};

/// Table of `policy.toml` by which every user who can open the socket has all permissions, as in v0.6.0.
pub const EVERYBODY_MAY: &str = "\n[access]\nsocket_group = \"all\"\n";

impl Daemon {
    /// Lets every user open the socket, and provides a copy of the client: the build directory may be root's.
    pub fn open_to_users(&self) {
        for path in [self.socket(), self.path("")] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        if !self.path("client").exists() {
            fs::copy(binaries::find("bpfman"), self.path("client")).unwrap();
        }
    }

    pub fn cli_as<S: AsRef<OsStr>>(&self, user: u32, group: u32, words: &[S]) -> Outcome {
        Outcome::of(self.cli_command_as(user, group).args(words))
    }

    #[must_use]
    pub fn cli_command_as(&self, user: u32, group: u32) -> Command {
        let mut command = Command::new("setpriv");
        let (user, group) = (user.to_string(), group.to_string());
        command.args(["--reuid", &user, "--regid", &group, "--clear-groups", "--inh-caps=-all", "--"]);
        command.arg(self.path("client"));
        command.env("BPFMAN_SOCKET_PATH", self.socket()).env("HOME", self.path(""));
        command
    }

    pub fn bpfman_as(&self, user: u32, line: &str) -> Outcome {
        self.cli_as(user, user, &line.split_whitespace().collect::<Vec<_>>())
    }
}
