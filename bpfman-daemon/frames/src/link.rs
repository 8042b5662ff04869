use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Link to a worker that was started for one piece of work.
#[derive(Debug)]
pub struct WorkerLink {
    /// Socket to the worker.
    pub stream: UnixStream,
    /// Descriptor that ends the worker when it is closed. `None`: closing the socket suffices.
    pub life: Option<OwnedFd>,
}
