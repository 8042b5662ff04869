//! Worker processes for images, objects and TLS: starting them, and communicating with them.
//!
//! The daemon itself executes nothing: its seccomp filter has no `execve`. Before it builds its sandbox, it
//! therefore starts `bpfman-worker` as the starter, a process with another user and no capabilities, which
//! starts the others on request, each for a single load or TLS client.

mod program;
mod starting;

pub use starting::WorkerProcesses;
