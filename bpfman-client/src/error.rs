//! Errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1::Failure;
use bpfman_proto::{HINT_TRAILER, REASON_TRAILER, Reason};
use tonic::{Code, Status};

/// Failed call: the action, its object and the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No daemon listens on the socket.
    #[error("cannot reach bpfmand at {}: {source}", path.display())]
    Unreachable {
        /// Path of the socket.
        path: PathBuf,
        /// Error of `connect(2)`.
        source: io::Error,
    },
    /// The socket exists, but this user may not use it.
    #[error("this user may not connect to {}: {source}; root can add it to the group of the socket", path.display())]
    SocketDenied {
        /// Path of the socket.
        path: PathBuf,
        /// Error of `connect(2)`.
        source: io::Error,
    },
    /// The daemon refused, or the connection broke during the call.
    #[error("{0}")]
    Refused(Box<RefusedCall>),
    /// The connection for a map broke, or the daemon does not support handovers.
    #[error("the daemon at {} handed over no map: {source}", path.display())]
    Handover {
        /// Path of the socket.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// An older daemon left out a part of its answer that this client needs.
    #[error("the daemon's answer to {call} lacks {part}; it may be older than this client")]
    Incomplete {
        /// Name of the call.
        call: &'static str,
        /// The missing field.
        part: &'static str,
    },
    /// The runtime cannot wait for a ring buffer.
    #[cfg(feature = "aya")]
    #[error("this runtime cannot wait for records of map \"{map}\": {source}")]
    Ring {
        /// Name of the map.
        map: String,
        /// Error of the system.
        source: io::Error,
    },
    /// A buffer of a perf event array cannot be created.
    #[cfg(feature = "aya")]
    #[error("no buffer can be made for records of map \"{map}\": {source}")]
    Perf {
        /// Name of the map.
        map: String,
        /// Error of the system.
        source: io::Error,
    },
    /// A map cannot be pinned.
    #[cfg(feature = "aya")]
    #[error("map \"{map}\" cannot be pinned at {}: {source}", path.display())]
    Pin {
        /// Name of the map.
        map: String,
        /// Path of the pin.
        path: PathBuf,
        /// Error of the kernel. `EPERM`: the folder is not in a bpffs.
        source: io::Error,
    },
    /// A map was received, but cannot be used as this type.
    #[cfg(feature = "aya")]
    #[error("map \"{map}\" cannot be used so: {source}")]
    Map {
        /// Name of the map.
        map: String,
        /// Error of aya. `EPERM` at the first call before Linux 5.19: see `docs/kernels.md`.
        source: Box<aya::maps::MapError>,
    },
}

/// Error of the daemon for a refused call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RefusedCall {
    /// gRPC code; [`Code::Unavailable`] if the connection broke.
    pub code: Code,
    /// Kind of failure, by a stable name (`docs/errors.md`). None without a daemon, or for a reason of a newer one.
    pub reason: Option<Reason>,
    /// Text of the error: the action, its object and the reason.
    pub message: String,
    /// Next steps, one per line; may be empty.
    pub hint: String,
    /// True if no daemon answered: the connection broke, or no daemon was listening.
    pub is_lost: bool,
}

impl Error {
    /// Returns the daemon's reason, if it refused.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused(refused) => refused.reason,
            _ => None,
        }
    }

    /// Returns whether no daemon answered. The same call may succeed once a daemon runs again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refused) => refused.is_lost,
            _ => false,
        }
    }

    /// Returns the next steps, if the daemon named any.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(refused.hint.as_str()).filter(|hint| !hint.is_empty()),
            _ => None,
        }
    }

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
            // Only a status made in this process, for a broken connection, has a source.
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
    fn missing_daemon_and_denied_socket_differ() {
        let of = |kind: io::ErrorKind| Error::of_connect(Path::new("/x"), kind.into());
        assert!(matches!(of(io::ErrorKind::PermissionDenied), Error::SocketDenied { .. }));
        assert!(matches!(of(io::ErrorKind::NotFound), Error::Unreachable { .. }));
    }
}
