//! Everything that can go wrong between the command line and the answer.

use std::io::{self, Write};
use std::path::PathBuf;

use bpfman_proto::ext::v1::Failure;
use bpfman_proto::{HINT_TRAILER, REASON_TRAILER};
use tonic::{Code, Status};

use crate::args::value_error::ValueError;
use crate::exit::Exit;
use crate::image_error::LocalImageError;
use crate::show;

/// A failed command: what, on what, and why.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The asynchronous runtime did not start.
    #[error("the client cannot start its runtime: {0}")]
    Runtime(#[source] io::Error),
    /// No daemon listens on the socket.
    #[error("cannot reach bpfmand at {}: {source}", path.display())]
    Unreachable {
        /// The socket that was tried.
        path: PathBuf,
        /// What `connect` said.
        source: io::Error,
    },
    /// The socket is there, but this user may not use it.
    #[error("this user may not connect to {}: {source}", path.display())]
    SocketDenied {
        /// The socket that was tried.
        path: PathBuf,
        /// What `connect` said.
        source: io::Error,
    },
    /// The daemon answered with an error, or went away during the call.
    #[error("{}", .status.message())]
    Call {
        /// As received.
        status: Box<Status>,
    },
    /// A load failed whose verifier log was asked for: the log comes with the failure.
    #[error("{}", .failure.message)]
    Load {
        /// What a status would have said.
        failure: Box<Failure>,
        /// The verifier's whole log.
        log: String,
    },
    /// A trial found what would be refused. The answer itself has been written.
    #[error("{}", .failure.message)]
    Tried {
        /// What a status would have said.
        failure: Box<Failure>,
    },
    /// A map could not be opened, or no daemon was there to ask.
    #[error("{0}")]
    Client(bpfman_client::Error),
    /// A step of several failed.
    #[error("{subject}: {source}")]
    At {
        /// The step.
        subject: String,
        /// What of it.
        source: Box<CliError>,
    },
    /// A request that the client itself knows to be impossible.
    #[error("{what}")]
    Invalid {
        /// The reason.
        what: String,
        /// What to do instead, if there is something.
        hint: Option<String>,
    },
    /// An entry of a map that is not there.
    #[error("{what}")]
    NoEntry {
        /// Which, in which map.
        what: String,
        /// What to do next.
        hint: String,
    },
    /// A command line that the parser takes and that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A comparison whose two sides are not the same. The answer itself has been written.
    #[error("{what}")]
    Differs {
        /// What differs.
        what: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// `doctor` found something. The answer itself has been written.
    #[error("{what}")]
    Unhealthy {
        /// How much.
        what: String,
        /// By the gravest of it.
        exit: Exit,
        /// What to do about it.
        hint: String,
    },
    /// What `wait` waited for is not so, and the time is over.
    #[error("{what}")]
    TimedOut {
        /// How it is instead.
        what: String,
        /// Whether a daemon said so.
        exit: Exit,
        /// Where to look.
        hint: String,
    },
    /// The daemon ended in the middle of a long answer. What came has been written.
    #[error("{what}")]
    CutShort {
        /// How far it came.
        what: String,
        /// How to go on.
        hint: String,
    },
    /// Some of several could not be removed. Each has been told, and the answer itself has been written.
    #[error("{what}")]
    Several {
        /// How many of how many.
        what: String,
        /// What the first of them would have ended with.
        exit: Exit,
    },
    /// `diff` found something to do. The answer itself has been written.
    #[error("this machine differs from the manifests")]
    Changes,
    /// `auth can-i` says no. The answer itself has been written.
    #[error("the daemon would refuse this caller")]
    MayNot,
    /// An application could not be applied as a whole. What became of it has been written.
    #[error("{what}")]
    Apply {
        /// Application, program, what failed and why.
        what: String,
        /// The kind of failure, as the daemon names it.
        reason: String,
        /// What to do next; may be empty.
        hint: String,
    },
    /// Building, pushing or signing an image failed.
    #[error(transparent)]
    Image(#[from] LocalImageError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is in the way that is never overwritten.
    #[error("{} exists: the command never overwrites it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The console cannot be served at an address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output could not be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// The answer could not be written as JSON or YAML.
    #[error("cannot encode the output: {0}")]
    Encode(String),
    /// The daemon left out a part of its answer that this client needs.
    #[error("the daemon's answer to {call} lacks {part}")]
    Incomplete {
        /// The gRPC method.
        call: &'static str,
        /// The missing field.
        part: &'static str,
    },
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
    /// The exit code of this failure.
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
            Self::Changes => Exit::Other,
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
            Self::Runtime(_) | Self::Output(_) | Self::Encode(_) | Self::Incomplete { .. } => Exit::Other,
        }
    }

    /// What to do next, most useful first.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Unreachable { path, .. } => vec![
                "start the daemon: `systemctl start bpfmand.socket`, or `bpfmand` as root".to_owned(),
                format!(
                    "if it listens elsewhere than {}, set --socket-path or BPFMAN_SOCKET_PATH",
                    path.display()
                ),
            ],
            Self::SocketDenied { path, .. } => vec![format!(
                "run as root, or as a member of the group that `ls -l {}` shows",
                path.display()
            )],
            Self::Call { status } => trailer(status, HINT_TRAILER).lines().map(str::to_owned).collect(),
            // The log stands right above: a hint that says how to get it would be noise.
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
            Self::Invalid { hint, .. } => hint.iter().cloned().collect(),
            Self::NoEntry { hint, .. } => vec![hint.clone()],
            Self::Usage(_) => vec!["`--help` shows the arguments of this command".to_owned()],
            Self::Changes => vec!["`bpfman apply` with the same manifests makes these changes".to_owned()],
            Self::Apply { hint, .. } => hint.lines().map(str::to_owned).collect(),
            Self::MayNot => vec!["`bpfman whoami` lists your grants".to_owned()],
            Self::Differs { hint, .. } => vec![(*hint).to_owned()],
            Self::Unhealthy { hint, .. } | Self::CutShort { hint, .. } | Self::TimedOut { hint, .. } => {
                vec![hint.clone()]
            }
            Self::Listen { .. } => vec!["`--listen 127.0.0.1:0` takes a free port".to_owned()],
            Self::Exists { .. } => vec!["choose another name, or move the file away".to_owned()],
            Self::Image(error) => error.hint().into_iter().map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// The verifier's whole log, if it was asked for and came.
    #[must_use]
    pub fn verifier_log(&self) -> Option<String> {
        match self {
            Self::Load { log, .. } => (!log.is_empty()).then(|| log.clone()),
            _ => None,
        }
    }

    /// Writes the verifier log if asked for, then the error, then its hints, to standard error.
    pub fn report(&self) {
        self.report_of("");
    }

    /// The same, of one of several: its name stands before the error.
    pub fn report_of(&self, subject: &str) {
        let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
        let mut text = String::new();
        if let Some(log) = self.verifier_log() {
            text.push_str(log.trim_end());
            text.push('\n');
        }
        let (message, own_hint) = split_hint(&self.to_string());
        let message = if message.is_empty() { "the call failed" } else { &message };
        text.push_str(&format!("error: {subject}{message}\n"));
        for hint in own_hint.into_iter().chain(self.hints()) {
            // A hint may show lines for a file; indented, they are seen to belong to it.
            text.push_str(&format!("hint: {}\n", hint.replace('\n', "\n      ")));
        }
        // Nobody is left to tell when standard error itself is gone.
        let _ = io::stderr().write_all(show::screen::harmless(&text).as_bytes());
    }
}

/// Some messages of the image crate end in their own hint; it goes on a line of its own.
fn split_hint(message: &str) -> (String, Option<String>) {
    match message.split_once("hint: ") {
        Some((what, hint)) => {
            let what = what.trim_end().trim_end_matches(['.', ';', ',']);
            (what.to_owned(), Some(hint.trim().to_owned()))
        }
        None => (message.to_owned(), None),
    }
}

/// A binary trailer as text; empty if it is not there.
fn trailer(status: &Status, name: &str) -> String {
    let value = status.metadata().get_bin(name).and_then(|value| value.to_bytes().ok());
    value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_inside_a_message_gets_its_own_line() {
        assert_eq!(
            split_hint("no client. hint: install it"),
            ("no client".into(), Some("install it".into()))
        );
        assert_eq!(split_hint("no such file"), ("no such file".into(), None));
    }

    #[test]
    fn missing_and_forbidden_files_have_their_codes() {
        let file = |kind: io::ErrorKind| CliError::File { path: "/x".into(), source: kind.into() }.exit();
        assert_eq!(file(io::ErrorKind::NotFound), Exit::NotFound);
        assert_eq!(file(io::ErrorKind::PermissionDenied), Exit::Denied);
        assert_eq!(file(io::ErrorKind::StorageFull), Exit::Other);
    }
}
