//! `bpfman-session`: starts commands of `bpfman run-as`.
//!
//! The service manager starts it as root. It serves the daemon alone: for each session it forks a process that prepares the
//! command's place (cgroup, namespaces, mounts), starts the command as the client's user, gives up all rights, and
//! receives the command's calls. It reads nothing that a client wrote.

mod client;
mod command;
mod executable;
mod filter;
mod limits;
mod map_maker;
mod mounts;
mod place;
mod receiver;
mod session;
mod spare;
mod starter;
mod tracing_view;

use std::path::PathBuf;
use std::process::ExitCode;

/// Folder of the sockets, unless `--runtime-dir` names another.
const RUNTIME: &str = "/run/bpfman/sessions";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let folder = match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => PathBuf::from(RUNTIME),
        (Some(flag), Some(folder), None) if flag == "--runtime-dir" => folder.into(),
        _ => {
            eprintln!(
                "bpfman-session: usage: bpfman-session [--runtime-dir FOLDER]\n\
                 Starts commands of `bpfman run-as`, as root, for the daemon that connects to FOLDER/starter.sock \
                 (default: {RUNTIME}/starter.sock)."
            );
            return ExitCode::from(2);
        }
    };
    match starter::run(&folder) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("bpfman-session: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
