//! Work on data from outside: registries, signatures, layers, TLS clients of metrics.
//!
//! The daemon links none of this code. It starts the program `bpfman-worker`, which starts a process for each piece of
//! work: without user, capabilities, files or network beyond what its role needs. The daemon trusts no answer: it
//! computes each digest itself, and decides what is kept.

mod fetch;
mod tls;
mod verify;

use std::io;
use std::os::unix::net::UnixStream;

use bpfmand_frames::WorkerLink;
use bpfmand_image::{StartWorker, WorkerRole};

pub use tls::{prepare_tls, serve_tls};
#[cfg(feature = "fuzzing")]
pub use verify::fuzzing;

/// Works until the other end is closed. It opens no file by a received name, and keeps nothing.
///
/// # Errors
/// Fails if the other end violates the protocol, or closes the connection within a message.
pub fn serve(role: WorkerRole, stream: UnixStream) -> io::Result<()> {
    match role {
        WorkerRole::Fetcher => fetch::serve(stream),
        WorkerRole::Verifier => verify::serve(stream),
    }
}

/// Starter of workers as threads of this process, with all its rights: for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerThreads;

impl StartWorker for WorkerThreads {
    fn start(&self, role: WorkerRole) -> io::Result<WorkerLink> {
        let (stream, other) = UnixStream::pair()?;
        let work = move || {
            if let Err(error) = serve(role, other) {
                tracing::debug!(%role, %error, "a worker ended");
            }
        };
        std::thread::Builder::new().name(role.to_string()).spawn(work)?;
        Ok(WorkerLink { stream, life: None })
    }
}
