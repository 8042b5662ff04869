//! Everything that can go wrong.

use std::io;
use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1::Failure;
use bpfman_proto::{HINT_TRAILER, REASON_TRAILER, Reason};
use tonic::{Code, Status};

/// A failed call: what, on what, and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No daemon listens on the socket.
    #[error("cannot reach bpfmand at {}: {source}", path.display())]
    Unreachable {
        /// The socket that was tried.
        path: PathBuf,
        /// What `connect(2)` said.
        source: io::Error,
    },
    /// The socket is there, but this user may not use it.
    #[error("this user may not connect to {}: {source}; root can add it to the group of the socket", path.display())]
    SocketDenied {
        /// The socket that was tried.
        path: PathBuf,
        /// What `connect(2)` said.
        source: io::Error,
    },
    /// The daemon refused, or went away during the call.
    #[error("{0}")]
    Refused(Box<RefusedCall>),
    /// The connection over which a map was to come broke off, or the daemon does not know handovers.
    #[error("the daemon at {} handed over no map: {source}", path.display())]
    Handover {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The daemon left out a part of its answer that this client needs: it is older.
    #[error("the daemon's answer to {call} lacks {part}; it may be older than this client")]
    Incomplete {
        /// The call.
        call: &'static str,
        /// The missing field.
        part: &'static str,
    },
    /// The runtime cannot wait for a ring buffer.
    #[cfg(feature = "aya")]
    #[error("this runtime cannot wait for records of map \"{map}\": {source}")]
    Ring {
        /// Its name.
        map: String,
        /// What the system said.
        source: io::Error,
    },
    /// A buffer of a perf event array cannot be made.
    #[cfg(feature = "aya")]
    #[error("no buffer can be made for records of map \"{map}\": {source}")]
    Perf {
        /// Its name.
        map: String,
        /// What the system said.
        source: io::Error,
    },
    /// A map cannot be pinned.
    #[cfg(feature = "aya")]
    #[error("map \"{map}\" cannot be pinned at {}: {source}", path.display())]
    Pin {
        /// Its name.
        map: String,
        /// Where.
        path: PathBuf,
        /// What the kernel said. `EPERM`: there is no bpffs.
        source: io::Error,
    },
    /// A map has come, and cannot be used as this type.
    #[cfg(feature = "aya")]
    #[error("map \"{map}\" cannot be used so: {source}")]
    Map {
        /// Its name.
        map: String,
        /// What aya says. `EPERM` at the first call before Linux 5.19: see `docs/kernels.md`.
        source: Box<aya::maps::MapError>,
    },
}

/// What the daemon says of a call that it refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RefusedCall {
    /// The code of gRPC: [`Code::Unavailable`] where the connection broke.
    pub code: Code,
    /// The kind of failure: the names are an interface of the daemon's (`docs/errors.md`). None where no daemon said it, or
    /// a newer one that has more reasons.
    pub reason: Option<Reason>,
    /// What failed, on what, and why.
    pub message: String,
    /// What to do next, a line each; may be empty.
    pub hint: String,
    /// No daemon said it: the connection broke, or none was there.
    pub is_lost: bool,
}

impl Error {
    /// The daemon's reason, if it refused.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(refused) => refused.reason,
            _ => None,
        }
    }

    /// True where no daemon answered: none listens now, or the connection broke. The same call may succeed once a daemon is
    /// there again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refused) => refused.is_lost,
            _ => false,
        }
    }

    /// What to do next, if the daemon says so.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(refused.hint.as_str()).filter(|hint| !hint.is_empty()),
            _ => None,
        }
    }

    /// Of `connect(2)`.
    pub(crate) fn of_connect(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::SocketDenied { path, source },
            _ => Self::Unreachable { path, source },
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let trailers = status.metadata();
        let reason = trailers.get(REASON_TRAILER).and_then(|value| value.to_str().ok());
        let hint = trailers.get_bin(HINT_TRAILER).and_then(|value| value.to_bytes().ok());
        Self::Refused(Box::new(RefusedCall {
            code: status.code(),
            reason: reason.and_then(Reason::from_name),
            message: status.message().to_owned(),
            // What a daemon says has no error of this process behind it.
            is_lost: std::error::Error::source(&status).is_some(),
            hint: hint.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default(),
        }))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Refused(Box::new(RefusedCall {
            code: Code::from_i32(failure.code),
            reason: Reason::from_name(&failure.reason),
            message: failure.message,
            hint: failure.hint,
            is_lost: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_code_reason_and_hint() {
        let failure = Failure {
            code: Code::PermissionDenied as i32,
            message: "user 7 may not".to_owned(),
            hint: "ask root".to_owned(),
            reason: "denied".to_owned(),
        };
        let error = Error::from(failure);
        assert_eq!((error.reason(), error.hint()), (Some(Reason::Denied), Some("ask root")));
        assert_eq!(error.to_string(), "user 7 may not");
        let later = Failure { reason: "of-a-later-daemon".to_owned(), ..Failure::default() };
        assert_eq!((Error::from(later.clone()).reason(), Error::from(later).hint()), (None, None));
    }

    #[test]
    fn nobody_there_and_not_allowed_are_told_apart() {
        let of = |kind: io::ErrorKind| Error::of_connect(Path::new("/x"), kind.into());
        assert!(matches!(of(io::ErrorKind::PermissionDenied), Error::SocketDenied { .. }));
        assert!(matches!(of(io::ErrorKind::NotFound), Error::Unreachable { .. }));
    }
}
