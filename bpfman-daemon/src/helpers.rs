//! Processes for images and objects: who starts them, and how this process speaks to them.
//!
//! The daemon itself executes nothing: its filter of system calls has no `execve`. So before it builds its cage, it starts
//! one process, the starter, which has another user and no capability. On the daemon's word that one starts the binary
//! anew, as a fetcher or a verifier, or copies itself, as a reader, each for a single load.

#[cfg(debug_assertions)]
mod hostile;
mod process;
mod starter;
mod starting;

pub use process::run;
pub use starting::HelperProcesses;

use std::ffi::CStr;
use std::process::Command;

use bpfmand_cage::CageMode;

/// The first argument of the binary, where it is to be one of these processes.
pub const COMMAND: &str = "image-helper";

/// The name of a reader, which has the arguments of the starter.
const READER_NAME: &CStr = c"bpfmand-reader";

/// Variables of the environment that the processes get: how registries are reached. The starter has no other either, since readers
/// are copies of it.
const ENVIRONMENT: [&str; 13] = [
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "RUST_BACKTRACE",
];

/// Gives a process that environment, and no other.
fn set_environment(command: &mut Command) {
    let kept = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept);
    #[cfg(debug_assertions)]
    command.envs(std::env::var_os(hostile::ACT).map(|act| (hostile::ACT, act)));
}

/// What the processes are told when they are started, by arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    seccomp: CageMode,
    landlock: bool,
}

impl Held {
    fn arguments(self) -> [String; 2] {
        [self.seccomp.to_string(), self.landlock.to_string()]
    }

    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let [seccomp, landlock] = arguments else {
            anyhow::bail!("these processes are started by the daemon alone");
        };
        Ok(Self { seccomp: seccomp.parse()?, landlock: landlock.parse()? })
    }
}

/// What the daemon has the starter start: one byte, with two descriptors beside it. The first leads to whoever asked for
/// the process, and becomes its standard input. When the other end of the second is closed, the process is ended. A third, for a
/// reader, is sealed memory with the index of the kernel's types.
mod order {
    pub const FETCHER: u8 = b'f';
    pub const VERIFIER: u8 = b'v';
    pub const READER: u8 = b'r';
}
