//! Errors of commands.

use std::io::{self, Write};
use std::path::PathBuf;

use bpfman_model::Hint;
use bpfman_proto::ext::v1::Failure;
use bpfman_proto::{HINT_TRAILER, REASON_TRAILER};
use tonic::{Code, Status};

use crate::args::value_error::ValueError;
use crate::exit::Exit;
use crate::image_error::LocalImageError;
use crate::show;

/// Failed command: the action, its object and the reason.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("the client cannot start its runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("the session failed: {0}")]
    Session(#[source] io::Error),
    /// The list of recorded programs cannot be read or written.
    #[error("cannot record programs in {}: {source}; --record takes a file that you can write", path.display())]
    Recording { path: PathBuf, source: io::Error },
    #[error("cannot reach bpfmand at {}: {source}", path.display())]
    Unreachable { path: PathBuf, source: io::Error },
    /// The socket exists, but this user may not use it.
    #[error("this user may not connect to {}: {source}", path.display())]
    SocketDenied { path: PathBuf, source: io::Error },
    /// The daemon returned an error, or the connection broke during the call.
    #[error("{}", .status.message())]
    Call { status: Box<Status> },
    /// A load with a requested verifier log failed: the log comes with the failure.
    #[error("{}", .failure.message)]
    Load {
        /// Failure, with the fields of a status.
        failure: Box<Failure>,
        log: String,
    },
    /// A dry run was refused. The answer has been written.
    #[error("{}", .failure.message)]
    Tried {
        /// Failure, with the fields of a status.
        failure: Box<Failure>,
    },
    /// A call of the client library failed.
    #[error("{0}")]
    Client(bpfman_client::Error),
    /// A step of several failed.
    #[error("{subject}: {source}")]
    At { subject: String, source: Box<CliError> },
    /// The client knows that the request is impossible.
    #[error("{what}")]
    Invalid {
        what: String,
        /// Next step, if there is one.
        hint: Option<Hint>,
    },
    /// The map has no such entry.
    #[error("{what}")]
    NoEntry { what: String, hint: Hint },
    /// The command line is syntactically valid, but inconsistent.
    #[error("{0}")]
    Usage(String),
    /// The two sides of a comparison differ. The answer has been written.
    #[error("{what}")]
    Differs { what: String, hint: Hint },
    /// `doctor` has findings. The answer has been written.
    #[error("{what}")]
    Unhealthy {
        what: String,
        /// Exit code of the gravest finding.
        exit: Exit,
        hint: Hint,
    },
    /// `wait` reached its timeout.
    #[error("{what}")]
    TimedOut {
        what: String,
        /// Exit code, which depends on whether a daemon answered.
        exit: Exit,
        hint: Hint,
    },
    /// The daemon stopped during a long answer. The received part has been written.
    #[error("{what}")]
    CutShort { what: String, hint: Hint },
    /// Some of several objects could not be removed. Each failure has been reported, and the answer written.
    #[error("{what}")]
    Several {
        /// Number of failures, and of objects.
        what: String,
        /// Exit code of the first failure.
        exit: Exit,
    },
    #[error("this machine differs from the manifests")]
    Changes { files: Vec<String> },
    #[error("the daemon would refuse this caller")]
    MayNot,
    /// An application was not applied completely. The result has been written.
    #[error("{what}")]
    Apply {
        what: String,
        /// Kind of failure, by the daemon's name.
        reason: String,
        /// Next steps; may be empty.
        hint: String,
    },
    /// Building, pushing or signing an image failed.
    #[error(transparent)]
    Image(#[from] LocalImageError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} exists: the command never overwrites it", path.display())]
    Exists { path: PathBuf },
    #[error("cannot listen on {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// The answer could not be written as JSON or YAML.
    #[error("cannot encode the output: {0}")]
    Encode(String),
    /// The daemon left out a part of its answer that this client needs.
    #[error("the daemon's answer to {call} lacks {part}")]
    Incomplete { call: &'static str, part: &'static str },
}

impl From<ValueError> for CliError {
    fn from(wrong: ValueError) -> Self {
        Self::Usage(wrong.to_string())
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        Self::Call { status: Box::new(status) }
    }
}

impl CliError {
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::SocketDenied { .. } => Exit::Denied,
            Self::Call { status } => {
                let reason = status.metadata().get(REASON_TRAILER).and_then(|value| value.to_str().ok());
                Exit::of_call(status.code(), reason)
            }
            Self::Load { failure, .. } | Self::Tried { failure } => {
                Exit::of_call(Code::from(failure.code), Some(&failure.reason))
            }
            Self::Client(error) => match error {
                bpfman_client::Error::Unreachable { .. } => Exit::Unreachable,
                bpfman_client::Error::SocketDenied { .. } => Exit::Denied,
                bpfman_client::Error::Refused(refused) => {
                    Exit::of_call(refused.code, refused.reason.map(|reason| reason.name()))
                }
                _ => Exit::Other,
            },
            Self::At { source, .. } => source.exit(),
            Self::Invalid { .. } => Exit::Invalid,
            Self::NoEntry { .. } => Exit::NotFound,
            Self::Usage(_) => Exit::Usage,
            Self::Several { exit, .. } | Self::Unhealthy { exit, .. } | Self::TimedOut { exit, .. } => *exit,
            Self::Differs { .. } | Self::Exists { .. } => Exit::Conflict,
            Self::Changes { .. } => Exit::Other,
            Self::CutShort { .. } => Exit::Unreachable,
            Self::MayNot => Exit::Denied,
            Self::Apply { reason, .. } => Exit::of_call(Code::Unknown, Some(reason)),
            Self::Image(error) => error.exit(),
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Exit::NotFound,
                io::ErrorKind::PermissionDenied => Exit::Denied,
                _ => Exit::Other,
            },
            Self::Listen { .. } => Exit::Other,
            Self::Runtime(_)
            | Self::Session(_)
            | Self::Recording { .. }
            | Self::Output(_)
            | Self::Encode(_)
            | Self::Incomplete { .. } => Exit::Other,
        }
    }

    /// Returns the next steps, the most useful first.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Unreachable { path, .. } => vec![
                Hint::StartDaemon.to_string(),
                format!(
                    "if it listens elsewhere than {}, set --socket-path or BPFMAN_SOCKET_PATH",
                    path.display()
                ),
            ],
            Self::SocketDenied { path, .. } => vec![Hint::FileOwners(path.clone()).to_string()],
            Self::Call { status } => trailer(status, HINT_TRAILER).lines().map(str::to_owned).collect(),
            // The log is printed above: a hint about how to get it is superfluous.
            Self::Load { failure, .. } => {
                let others = failure.hint.lines().filter(|hint| !hint.contains("--verifier-log"));
                others.map(str::to_owned).collect()
            }
            Self::Tried { failure } => failure.hint.lines().map(str::to_owned).collect(),
            Self::Client(bpfman_client::Error::Unreachable { path, source }) => {
                let kind = source.kind();
                Self::Unreachable { path: path.clone(), source: kind.into() }.hints()
            }
            Self::Client(bpfman_client::Error::SocketDenied { path, source }) => {
                let kind = source.kind();
                Self::SocketDenied { path: path.clone(), source: kind.into() }.hints()
            }
            Self::Client(error) => error.hint().into_iter().flat_map(str::lines).map(str::to_owned).collect(),
            Self::At { source, .. } => source.hints(),
            Self::Invalid { hint, .. } => hint.iter().map(ToString::to_string).collect(),
            Self::Usage(_) => vec!["`--help` shows the arguments of this command".to_owned()],
            Self::Changes { files } => vec![Hint::Apply(files.clone()).to_string()],
            Self::Apply { hint, .. } => hint.lines().map(str::to_owned).collect(),
            Self::MayNot => vec![Hint::Whoami.to_string()],
            Self::Differs { hint, .. }
            | Self::NoEntry { hint, .. }
            | Self::Unhealthy { hint, .. }
            | Self::CutShort { hint, .. }
            | Self::TimedOut { hint, .. } => hint.to_string().lines().map(str::to_owned).collect(),
            Self::Listen { .. } => vec!["`--listen 127.0.0.1:0` takes a free port".to_owned()],
            Self::Exists { .. } => vec!["choose another name, or move the file away".to_owned()],
            Self::Image(error) => error.hint().into_iter().map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the verifier's complete log, if requested and available.
    #[must_use]
    pub fn verifier_log(&self) -> Option<String> {
        match self {
            Self::Load { log, .. } => (!log.is_empty()).then(|| log.clone()),
            _ => None,
        }
    }

    /// Returns whether the command succeeded, and its exit code is a negative answer rather than a failure.
    const fn is_verdict(&self) -> bool {
        matches!(self, Self::Changes { .. } | Self::MayNot | Self::Unhealthy { .. } | Self::Differs { .. })
    }

    /// Writes the verifier log if requested, then the error, then its hints, to standard error.
    pub fn report(&self) {
        self.report_of("");
    }

    /// Reports the failure for one of several objects, with its name before the error.
    pub fn report_of(&self, subject: &str) {
        let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
        let mut text = String::new();
        if let Some(log) = self.verifier_log() {
            text.push_str(log.trim_end());
            text.push('\n');
        }
        let message = self.to_string();
        let message = if message.is_empty() { "the call failed" } else { &message };
        let kind = if self.is_verdict() { "" } else { "error: " };
        text.push_str(&format!("{kind}{subject}{message}\n"));
        for hint in self.hints() {
            // A hint may contain lines for a file: indent them.
            text.push_str(&format!("hint: {}\n", hint.replace('\n', "\n      ")));
        }
        // A failed write to standard error cannot be reported.
        let _ = io::stderr().write_all(show::screen::harmless(&text).as_bytes());
    }
}

fn trailer(status: &Status, name: &str) -> String {
    let value = status.metadata().get_bin(name).and_then(|value| value.to_bytes().ok());
    value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_forbidden_files_have_their_codes() {
        let file = |kind: io::ErrorKind| CliError::File { path: "/x".into(), source: kind.into() }.exit();
        assert_eq!(file(io::ErrorKind::NotFound), Exit::NotFound);
        assert_eq!(file(io::ErrorKind::PermissionDenied), Exit::Denied);
        assert_eq!(file(io::ErrorKind::StorageFull), Exit::Other);
    }
}
