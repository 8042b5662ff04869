//! Worker processes for images and objects: starting them, and communicating with them.
//!
//! The daemon itself executes nothing: its seccomp filter has no `execve`. Before it builds its sandbox, it therefore
//! starts the starter, a process with another user and no capabilities. On request, the starter executes the binary
//! again as a fetcher or a verifier, or forks a reader, each for a single load.

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

/// First argument of the binary for such a process.
pub const COMMAND: &str = "image-helper";

/// Process name of a reader, which shares the starter's arguments.
const READER_NAME: &CStr = c"bpfmand-reader";

/// Environment variables that the processes inherit: access to registries. The starter has no others, since readers are
/// copies of it.
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

/// Replaces the environment of a command by these variables.
fn set_environment(command: &mut Command) {
    let kept = ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    command.env_clear().envs(kept);
    #[cfg(debug_assertions)]
    command.envs(std::env::var_os(hostile::ACT).map(|act| (hostile::ACT, act)));
}

/// Restrictions of a worker, passed as arguments.
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

/// Requests to the starter: one byte with two file descriptors. The first is the socket that becomes the process's
/// standard input. When the other end of the second is closed, the process is killed. A reader may get a third: sealed
/// memory with the index of the kernel's types.
mod order {
    pub const FETCHER: u8 = b'f';
    pub const VERIFIER: u8 = b'v';
    pub const READER: u8 = b'r';
}
