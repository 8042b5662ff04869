//! Failures of sessions.

use std::io;
use std::path::PathBuf;

/// Maximum number of sessions of one user at a time.
pub const MAX_OF_USER: usize = 64;
/// Maximum number of sessions that a user starts at the same time.
pub const MAX_STARTS: usize = 16;

/// Failure to start a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the starter of sessions does not listen on {path}")]
    NoStarter { path: PathBuf },
    #[error("the starter of sessions cannot be reached: {0}")]
    Starter(#[source] io::Error),
    #[error("the session cannot be prepared: {0}")]
    NotPrepared(String),
    #[error("the pins that session {session} left stay: {why}")]
    PinsStay { session: String, why: String },
    /// The files of the session cannot be written or read.
    #[error("the record of the session cannot be kept: {0}")]
    Record(#[source] io::Error),
    #[error(
        "kernel.yama.ptrace_scope is {0}: not even a parent may read the arguments of a command's calls; root may run \
         `sysctl kernel.yama.ptrace_scope=1` (3 cannot be changed before the next boot)"
    )]
    Yama(u32),
    /// The user starts too many sessions at the same time.
    #[error("user {0} starts {MAX_STARTS} sessions at this moment; try again")]
    TooManyStarts(u32),
    #[error(
        "user {0} has {MAX_OF_USER} sessions already, with those that left something; end one, or run `bpfman detach session`"
    )]
    TooMany(u32),
}
